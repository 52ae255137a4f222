package agent

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sys/unix"
)

// remoteFresh is how long a generation is believed where its process cannot be
// watched.
const remoteFresh = time.Second

// A door is the way to the ports of one generation of one container: through
// its own network namespace, or by its address where that may not be entered.
type door struct {
	name    string
	started string
	pid     int
	pidfd   int // -1: the process cannot be seen from here
	address string
	http    *http.Client
	slots   insideSlots

	asked  atomic.Int64 // when the engine last said that it lives; Unix ns
	shut   sync.Once
	mayNot atomic.Bool // enter
}

func openDoor(c container.InspectResponse, slots insideSlots) *door {
	d := &door{
		name: strings.TrimPrefix(c.Name, "/"), started: c.State.StartedAt, pid: c.State.Pid,
		pidfd: holdProcess(c.State.Pid, c.ID), address: ownAddress(c), slots: slots,
	}
	d.seen(time.Now())
	d.http = &http.Client{
		// Where a request goes is what was asked for, not what a target answers.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport:     &http.Transport{DialContext: d.dial, MaxIdleConnsPerHost: 4, IdleConnTimeout: 30 * time.Second},
	}
	return d
}

func (d *door) seen(at time.Time) { d.asked.Store(at.UnixNano()) }

// fresh says whether the generation still lives.
func (d *door) fresh() bool {
	if d.pidfd >= 0 {
		return d.alive()
	}
	return time.Since(time.Unix(0, d.asked.Load())) < remoteFresh
}

func (d *door) alive() bool {
	fds := []unix.PollFd{{Fd: int32(d.pidfd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, 0)
	return err == nil && n == 0
}

func (d *door) dial(ctx context.Context, _, addr string) (net.Conn, error) {
	_, text, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.Atoi(text)
	if err != nil {
		return nil, err
	}
	if d.pidfd >= 0 && !d.mayNot.Load() {
		conn, err := d.slots.dial(ctx, d.pid, port, d.alive)
		if err == nil || !forbidden(err) {
			return conn, err
		}
		d.mayNot.Store(true)
	}
	if d.address == "" {
		return nil, fmt.Errorf("%s has no address of its own, and its network namespace cannot be entered from here: "+
			"run as root on the engine's host", d.name)
	}
	var dialer net.Dialer
	return dialer.DialContext(ctx, "tcp", net.JoinHostPort(d.address, text))
}

// close ends the kept connections of a generation that is over.
func (d *door) close() {
	d.shut.Do(func() {
		d.http.CloseIdleConnections()
		if d.pidfd >= 0 {
			_ = unix.Close(d.pidfd) // nothing was written to it
		}
	})
}

// holdProcess holds a container's process by a pidfd; -1 if it is not seen here.
func holdProcess(pid int, id string) int {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1
	}
	groups, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil || !strings.Contains(string(groups), id) {
		_ = unix.Close(fd) // nothing was written to it
		return -1
	}
	return fd
}

// ownAddress is an address of the container itself.
func ownAddress(c container.InspectResponse) string {
	if c.NetworkSettings == nil {
		return ""
	}
	if c.HostConfig != nil && c.HostConfig.NetworkMode.IsHost() {
		return "127.0.0.1"
	}
	for _, n := range c.NetworkSettings.Networks {
		if n != nil && n.IPAddress != "" {
			return n.IPAddress
		}
	}
	return ""
}
