package shop_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

const ballast = "/var/lib/postgresql/data/ballast.test"

// inPostgres runs a shell line in the database's container, which may be dying.
func inPostgres(t *testing.T, user, line string) (string, error) {
	t.Helper()
	out, err := exec.Command("docker", "exec", "-u", user, container(t, "postgres"), "sh", "-c", line).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// fillDisk leaves PostgreSQL nothing: it is not root, so what ext4 keeps for root is not its own.
func fillDisk(t *testing.T) {
	t.Helper()
	out, err := inPostgres(t, "postgres", `f=`+ballast+`
		fallocate -l $(($(stat -f -c '%a * %S' $(dirname $f)) - 1048576)) $f
		dd if=/dev/zero bs=4k of=$f.rest 2>&1`)
	if !strings.Contains(out, "No space left on device") {
		t.Fatalf("the disk is not full: %v\n%s", err, out)
	}
}

// freeDisk works on a database that cannot start too, as its container comes and goes.
func freeDisk(t *testing.T) {
	t.Helper()
	eventually(t, "the ballast is gone", func() bool {
		_, err := inPostgres(t, "root", "rm -f "+ballast+" "+ballast+".rest")
		return err == nil
	})
}

// askDatabase may fail; the database is why it is asked.
func askDatabase(t *testing.T, query string) (string, error) {
	return inPostgres(t, "postgres", fmt.Sprintf("psql -At -d shop -c %q", query))
}

// account compares the two sides charge by charge, of those taken after the first so many.
type account struct {
	kept    []string // charged and not voided
	orphans []string // of these, without a confirmed order
	unpaid  []string // confirmed orders whose charge is not among kept
}

func readAccount(t *testing.T, after books) (a account) {
	t.Helper()
	var statement struct {
		Charges []struct {
			ID     string
			Voided bool
		}
	}
	out := docker(t, "exec", container(t, "payments"), "/payments", "-get", fmt.Sprintf("/charges?limit=100000&after=%d", after.charges))
	if err := json.Unmarshal([]byte(out), &statement); err != nil {
		t.Fatal(err)
	}
	kept := map[string]bool{}
	for _, c := range statement.Charges {
		if !c.Voided {
			kept[c.ID] = true
		}
	}
	have := map[string]bool{}
	for _, charge := range strings.Fields(sql(t, "SELECT charge FROM orders WHERE state = 'confirmed'")) {
		have[charge] = true
	}
	for _, c := range statement.Charges {
		switch {
		case kept[c.ID] && have[c.ID]:
			a.kept = append(a.kept, c.ID)
		case kept[c.ID]:
			a.orphans = append(a.orphans, c.ID)
		case have[c.ID]:
			a.unpaid = append(a.unpaid, c.ID)
		}
	}
	return a
}

// TestDiskFull is the third experiment in small. PostgreSQL runs out of space under customers: once so that tables
// cannot grow, once so that WAL cannot, which kills it. With ORDER_INTENT=on nobody has paid for nothing in the end.
func TestDiskFull(t *testing.T) {
	url := shopURL(t)
	intent := strings.Contains(get(t, url+"/metrics"), "\norders_unsettled ")
	t.Logf("ORDER_INTENT on: %v", intent)
	for _, c := range []struct {
		name string
		push string // a statement that is repeated until the log has want
		want string
	}{
		{"tables", "SELECT 1", "could not extend file"},
		{"wal", "SELECT pg_logical_emit_message(false, 'test', repeat('x', 1000)); SELECT pg_switch_wal()", "PANIC:  could not write to file"},
	} {
		t.Run(c.name, func(t *testing.T) {
			freeDisk(t) // what a killed test left
			waitHealthy(t, "postgres")
			t.Cleanup(func() {
				freeDisk(t)
				waitHealthy(t, "postgres")
			})
			before, since := readBooks(t), time.Now()
			load := attack(url, 30*time.Second)
			time.Sleep(3 * time.Second)
			fillDisk(t)
			eventually(t, "the log has "+c.want, func() bool {
				_, _ = askDatabase(t, c.push)
				return strings.Contains(docker(t, "logs", "--since", since.Format(time.RFC3339Nano), container(t, "postgres")), c.want)
			})
			t.Logf("%q after %.1f s", c.want, time.Since(since).Seconds())
			eventually(t, "a customer notices", func() bool {
				code, _ := checkout(t, url, `{"product":"tea","quantity":1}`)
				return code != http.StatusOK
			})
			time.Sleep(12 * time.Second) // long enough for the engine's restarts of a dying container to be far apart
			if intent && !strings.Contains(get(t, url+"/readyz"), "orders: ") {
				t.Error("/readyz does not tell that orders cannot be written")
			}
			freeDisk(t)
			freed := time.Now()
			eventually(t, "checkout works again", func() bool {
				code, _ := checkout(t, url, `{"product":"tea","quantity":1}`)
				return code == http.StatusOK
			})
			t.Logf("a checkout %.1f s after the disk was free", time.Since(freed).Seconds())
			results := <-load
			t.Log("all", window(results, since, since.Add(time.Hour)))
			if !intent {
				eventually(t, "the database answers", func() bool { _, err := askDatabase(t, "SELECT 1"); return err == nil })
				if a := readAccount(t, before); len(a.orphans) == 0 {
					t.Error("nobody paid for nothing: was the disk full at all?")
				}
				return
			}
			var a account
			eventually(t, "money and orders agree", func() bool {
				a = readAccount(t, before)
				return len(a.orphans) == 0
			})
			t.Logf("money and orders agree %.1f s after the disk was free; %d charges kept", time.Since(freed).Seconds(), len(a.kept))
			if len(a.unpaid) > 0 || len(a.kept) == 0 {
				t.Errorf("%d orders without money, %d with", len(a.unpaid), len(a.kept))
			}
			eventually(t, "the api is well", func() bool { return get(t, url+"/readyz") == `{"money":"ok","orders":"ok"}`+"\n" })
		})
	}
}
