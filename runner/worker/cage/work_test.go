package cage

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// works is what a worker must still be able to do in the whole cage.
var works = map[string]func() bool{
	"goroutines": func() bool {
		var sum atomic.Int64
		var all sync.WaitGroup
		for i := range 10_000 {
			all.Go(func() { runtime.Gosched(); sum.Add(int64(i)) })
		}
		all.Wait()
		return sum.Load() == 49_995_000
	},
	"threads": func() bool { // made after Enter
		var all sync.WaitGroup
		hold := make(chan struct{})
		for i := range 20 {
			all.Go(func() {
				runtime.LockOSThread() // never unlocked: the thread ends, too
				<-hold
				if i == 0 {
					runtime.GC()
				}
			})
		}
		time.Sleep(10 * time.Millisecond)
		close(hold)
		all.Wait()
		return true
	},
	"timers": func() bool {
		tick, fired := time.NewTicker(time.Millisecond), make(chan bool, 1)
		time.AfterFunc(5*time.Millisecond, func() { fired <- true })
		<-tick.C
		<-tick.C
		time.Sleep(time.Millisecond)
		return <-fired
	},
	"garbage": func() bool { // twice the limit, never much at a time
		var last []byte
		for range 128 {
			last = make([]byte, 16<<20)
			last[len(last)-1] = 1
		}
		small := map[int]string{}
		for i := range 2_000_000 {
			small[i%1000] = fmt.Sprint(i)
		}
		return len(last) > 0 && len(small) == 1000
	},
	"much memory": func() bool { // more than half of the limit, at once
		blocks := make([][]byte, 20)
		if raceBuild {
			blocks = blocks[:5] // the race detector takes two bytes for each
		}
		for i := range blocks {
			blocks[i] = make([]byte, 32<<20)
			for j := 0; j < len(blocks[i]); j += 4096 {
				blocks[i][j] = 1
			}
		}
		defer runtime.KeepAlive(blocks)
		return true
	},
	"give memory back": func() bool {
		b := make([]byte, 100<<20)
		b[0] = 1
		b = nil
		_ = b
		debug.FreeOSMemory()
		return true
	},
	"preemption": func() bool { // a loop that never yields does not stop the collector
		var stop atomic.Bool
		for range 4 {
			go func() {
				for n := 0; !stop.Load(); n++ {
				}
			}()
		}
		for range 5 {
			runtime.GC()
		}
		stop.Store(true)
		return true
	},
	"signals": func() bool { // the supervisor's, and its own to its own threads
		got := make(chan os.Signal, 1)
		signal.Notify(got, syscall.SIGUSR2)
		if err := unix.Tgkill(os.Getpid(), unix.Gettid(), unix.SIGUSR2); err != nil {
			return false
		}
		<-got
		return true
	},
	"chance": func() bool {
		b := make([]byte, 16)
		_, err := rand.Read(b)
		return err == nil && hex.EncodeToString(b) != strings.Repeat("0", 32)
	},
	"recover": func() bool {
		caught := false
		func() {
			defer func() { caught = recover() != nil }()
			var m map[string]int
			//lint:ignore SA5000 the panic is the point
			m["x"] = 1
		}()
		return caught
	},
	"deep stack": func() bool { return depth(200_000) == 200_000 },
}

func depth(n int) int {
	if n == 0 {
		return 0
	}
	return depth(n-1) + 1
}

func playWork(args []string) {
	mustEnter(allRings)
	say(works[args[0]]())
	linger()
}

func TestWorks(t *testing.T) {
	for name := range works {
		t.Run(name, func(t *testing.T) {
			c := play(t, Options{}, "work", name)
			if got := hear[bool](t, c); !got {
				t.Errorf("got %v, want true", got)
			}
			_ = c.Stdin.Close()
			if d := c.Wait(); d.Cause != Exited || d.Code != 0 || d.Stderr != "" {
				t.Errorf("ended with %v and %q, want exit code 0 and nothing", d, d.Stderr)
			}
		})
	}
}

// A process whose poller runs before Enter keeps it.
func TestEarlyPoller(t *testing.T) {
	c := play(t, Options{}, "early")
	if got := hear[bool](t, c); !got {
		t.Errorf("got %v, want true", got)
	}
}

func playEarly([]string) {
	time.Sleep(time.Millisecond)
	mustEnter(allRings)
	say(works["timers"]())
	linger()
}

// Stdin and stdout carry much, in lines, both ways at once, while time passes.
func TestStdio(t *testing.T) {
	c := play(t, Options{}, "echo")
	line, err := json.Marshal(strings.Repeat("x", 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	line = append(line, '\n')
	go func() {
		for range 20 {
			if _, err := c.Stdin.Write(line); err != nil {
				return
			}
		}
		_ = c.Stdin.Close()
	}()
	lines := bufio.NewReaderSize(c.Stdout, 1<<16)
	for i := range 20 {
		got, err := lines.ReadBytes('\n')
		if err != nil || !bytes.Equal(got, line) {
			t.Fatalf("line %d: got %d bytes and %v, want %d", i, len(got), err, len(line))
		}
	}
	if d := c.Wait(); d.Cause != Exited || d.Code != 0 {
		t.Errorf("ended with %v\n%s", d, d.Stderr)
	}
}

func playEcho([]string) {
	mustEnter(allRings)
	in := bufio.NewReader(os.Stdin)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		if _, err := os.Stdout.Write(line); err != nil {
			os.Exit(12)
		}
	}
}

// A worker that is stopped and continued goes on: the kernel then restarts
// what slept by a system call of its own.
func TestStopAndContinue(t *testing.T) {
	c := play(t, Options{}, "sleep")
	hear[string](t, c)
	for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGCONT} {
		time.Sleep(20 * time.Millisecond) // it sleeps; then, it has stopped
		if err := syscall.Kill(c.Pid(), sig); err != nil {
			t.Fatal(err)
		}
	}
	if got := hear[bool](t, c); !got {
		t.Errorf("got %v, want true", got)
	}
}

func playSleep([]string) {
	mustEnter(allRings)
	say("sleeping")
	ts := unix.Timespec{Nsec: 200e6}
	err := unix.Nanosleep(&ts, &ts)
	time.Sleep(10 * time.Millisecond)
	say(err == nil)
	linger()
}

// playThreads makes threads before Enter, and some after, and has each try.
func playThreads(args []string) {
	var answers []string
	var mu sync.Mutex
	var all sync.WaitGroup
	try, end := make(chan struct{}), make(chan struct{})
	thread := func() {
		runtime.LockOSThread()
		<-try
		_, err := syscall.Open("/etc/shadow", syscall.O_RDONLY, 0)
		mu.Lock()
		answers = append(answers, fmt.Sprint(err))
		if err == nil {
			answers[len(answers)-1] = ""
		}
		mu.Unlock()
		all.Done()
		<-end
	}
	all.Add(8)
	for range 4 {
		go thread()
	}
	time.Sleep(20 * time.Millisecond)
	active := mustEnter(args[0])
	for range 4 {
		go thread()
	}
	close(try)
	all.Wait()
	say(active)
	say(answers)
	linger()
	close(end)
}
