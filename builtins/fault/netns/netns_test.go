package netns_test

import (
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"

	"chaosrunner/builtins/fault/netns"
	"chaosrunner/builtins/fault/netns/scratch"
)

// links names the interfaces of the calling thread's namespace.
func links() (string, error) {
	list, err := net.Interfaces()
	var names []string
	for _, l := range list {
		names = append(names, l.Name)
	}
	return strings.Join(names, " "), err
}

func TestInsideSeesTheNamespaceAndComesBack(t *testing.T) {
	a, _ := scratch.Pair(t)
	home, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	if a.ID() == home.ID() {
		t.Fatalf("a scratch namespace is our own: %v", a.ID())
	}
	var done sync.WaitGroup
	for range 50 { // more than there are threads
		done.Go(func() {
			err := a.Inside(func() error {
				got, err := links()
				if got != "lo eth0" {
					t.Errorf("inside: got interfaces %q, want %q", got, "lo eth0")
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
			here, err := netns.Current()
			if err != nil {
				t.Error(err)
				return
			}
			defer here.Close()
			if here.ID() != home.ID() {
				t.Errorf("after Inside a goroutine runs in %v, want %v", here.ID(), home.ID())
			}
		})
	}
	done.Wait()
}

func TestInsideHandsErrorsAndPanicsOn(t *testing.T) {
	n := scratch.Namespace(t)
	want := errors.New("mine")
	if err := n.Inside(func() error { return want }); err != want {
		t.Errorf("got error %v, want %v", err, want)
	}
	defer func() {
		if got := recover(); got != "boom" {
			t.Errorf("got panic %v, want boom", got)
		}
	}()
	_ = n.Inside(func() error { panic("boom") })
}

func TestOnlyNetworkNamespacesAreOpened(t *testing.T) {
	for path, want := range map[string]string{
		"/proc/self/ns/mnt":    "want 0x40000000",
		os.DevNull:             "is no network namespace",
		"/proc/self/ns/absent": "no such file",
	} {
		if _, err := netns.Open(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("open %s: got %v, want %q", path, err, want)
		}
	}
	if _, err := netns.OfProcess(0); err == nil {
		t.Error("pid 0 was taken for a process")
	}
	n, err := netns.OfProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	home, err := netns.Current()
	if err != nil {
		t.Fatal(err)
	}
	defer home.Close()
	if n.ID() != home.ID() {
		t.Errorf("our own process lives in %v, want %v", n.ID(), home.ID())
	}
}
