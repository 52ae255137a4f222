package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/pkg/stdcopy"

	"chaosrunner/runner/protocol"
)

// maxLogTime bounds the reading of a container's log: a long one takes long.
const maxLogTime = 15 * time.Second

// tail reads what a container has said of late, on both its outputs.
func (e *engine) tail(ctx context.Context, in protocol.Tail) (protocol.Logged, error) {
	if in.MaxLines <= 0 || in.MaxBytes <= 0 || in.MaxBytes > maxBody || in.Since <= 0 {
		return protocol.Logged{}, protocol.Errorf(protocol.CodeBad, "agent: logs: got bounds of %d lines, %d bytes and %v", in.MaxLines, in.MaxBytes, in.Since)
	}
	ctx, cancel := context.WithTimeout(ctx, maxLogTime)
	defer cancel()
	c, err := e.ContainerInspect(ctx, in.Container)
	if err != nil {
		return protocol.Logged{}, e.away(err)
	}
	logs, err := e.ContainerLogs(ctx, in.Container, container.LogsOptions{
		ShowStdout: true, ShowStderr: true, Since: time.Now().Add(-in.Since).Format(time.RFC3339Nano),
	})
	if err != nil {
		return protocol.Logged{}, fmt.Errorf("agent: logs of %s: %w", strings.TrimPrefix(c.Name, "/"), e.away(err))
	}
	defer logs.Close() //nolint:errcheck // read only
	last := &lastLines{contains: []byte(in.Contains), lines: in.MaxLines, bytes: in.MaxBytes}
	if c.Config != nil && c.Config.Tty {
		_, err = io.Copy(last, logs)
	} else {
		_, err = stdcopy.StdCopy(last, last, logs)
	}
	if err != nil {
		return protocol.Logged{}, fmt.Errorf("agent: logs of %s: %w", strings.TrimPrefix(c.Name, "/"), err)
	}
	last.end()
	return protocol.Logged{Lines: last.kept, Truncated: last.dropped}, nil
}

// lastLines keeps the last of the lines written to it, within bounds.
type lastLines struct {
	contains     []byte
	lines, bytes int

	rest    []byte // of a line that has not ended
	kept    []string
	size    int
	dropped bool
}

func (l *lastLines) Write(p []byte) (int, error) {
	n := len(p)
	for {
		line, after, ended := bytes.Cut(p, []byte{'\n'})
		l.rest = append(l.rest, line[:min(len(line), max(0, l.bytes-len(l.rest)))]...)
		if !ended {
			return n, nil
		}
		l.end()
		p = after
	}
}

// end takes in the line so far.
func (l *lastLines) end() {
	if line := bytes.TrimSuffix(l.rest, []byte{'\r'}); len(line) > 0 && bytes.Contains(line, l.contains) {
		l.kept = append(l.kept, strings.ToValidUTF8(string(line), "\uFFFD"))
		l.size += len(line)
		drop := 0
		for size := l.size; len(l.kept)-drop > l.lines || size > l.bytes; drop++ {
			size -= len(l.kept[drop])
			l.size = size
		}
		if drop > 0 {
			l.kept, l.dropped = slices.Delete(l.kept, 0, drop), true
		}
	}
	l.rest = l.rest[:0]
}
