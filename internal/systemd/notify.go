// Package systemd tells the service manager how a service does, as sd_notify(3) describes: that it is ready, that it lives
// and that it stops. Without a service manager that listens, nothing is sent.
package systemd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"
)

// Notifier speaks to the manager. The zero value speaks to nobody.
type Notifier struct {
	socket string
	// watchdog is the time within which the manager wants to hear of the service; 0 is never.
	watchdog time.Duration
}

// FromEnv reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, as systemd sets them. pid is the calling process.
func FromEnv(getenv func(string) string, pid int) (Notifier, error) {
	n := Notifier{socket: getenv("NOTIFY_SOCKET")}
	if n.socket == "" {
		return n, nil
	}
	// A path, or an abstract name behind an @ (unix(7)); others, vsock for one, are for virtual machines.
	if n.socket[0] != '/' && n.socket[0] != '@' {
		return Notifier{}, fmt.Errorf("NOTIFY_SOCKET is %q: want a path or an abstract name", n.socket)
	}
	usec := getenv("WATCHDOG_USEC")
	if owner := getenv("WATCHDOG_PID"); usec == "" || owner != "" && owner != strconv.Itoa(pid) {
		return n, nil // no watchdog, or another process's
	}
	v, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || v <= 0 || v > int64(24*time.Hour/time.Microsecond) {
		return Notifier{}, fmt.Errorf("WATCHDOG_USEC is %q: want microseconds, at most a day", usec)
	}
	n.watchdog = time.Duration(v) * time.Microsecond
	return n, nil
}

// Ready says that the start is complete.
func (n Notifier) Ready(status string) error { return n.send("READY=1", "STATUS="+line(status)) }

// Stopping says that the service ends on purpose.
func (n Notifier) Stopping() error { return n.send("STOPPING=1") }

// Draining says that the service ends on purpose and needs at least d from now on for it, whatever the unit's TimeoutStopSec=. Say it again
// before d is over.
func (n Notifier) Draining(d time.Duration, status string) error {
	return n.send("STOPPING=1", fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds()), "STATUS="+line(status))
}

// Watch says every half of the watchdog's time that the service lives, as long as alive agrees: a service that hangs is
// restarted by the manager. alive must heed its context; an error of it is handed to report, and nothing is said that time.
// Returns when ctx ends, at once without a watchdog.
func (n Notifier) Watch(ctx context.Context, alive func(context.Context) error, report func(error)) {
	if n.socket == "" || n.watchdog == 0 {
		return
	}
	tick := time.NewTicker(n.watchdog / 2)
	defer tick.Stop()
	for {
		if err := n.once(ctx, alive); err != nil && ctx.Err() == nil {
			report(err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (n Notifier) once(ctx context.Context, alive func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, n.watchdog/4)
	defer cancel()
	if err := alive(ctx); err != nil {
		return fmt.Errorf("the service does not answer itself, so its watchdog is not told that it lives: %w", err)
	}
	return n.send("WATCHDOG=1")
}

// send sends one datagram of assignments.
func (n Notifier) send(assignments ...string) error {
	if n.socket == "" {
		return nil
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err != nil {
		return fmt.Errorf("telling the service manager: %w", err)
	}
	_, err = c.Write([]byte(strings.Join(assignments, "\n")))
	if err := errors.Join(err, c.Close()); err != nil {
		return fmt.Errorf("telling the service manager: %w", err)
	}
	return nil
}

// line keeps a text from starting another assignment.
func line(text string) string { return strings.Join(strings.Fields(text), " ") }
