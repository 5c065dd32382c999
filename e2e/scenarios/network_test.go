package scenarios

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// outside is a machine beyond the host: a network namespace behind a pair of devices, with a web server. It returns the
// server's address. The addresses are from RFC 2544's range, which nobody routes.
func outside(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("slwt%d", os.Getpid())
	ip := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	ip("netns", "add", name)
	t.Cleanup(func() {
		// With the namespace goes the pair of devices.
		if out, err := exec.Command("ip", "netns", "del", name).CombinedOutput(); err != nil {
			t.Errorf("ip netns del %s: %v\n%s", name, err, out)
		}
	})
	third := os.Getpid() % 250
	ip("link", "add", name+"h", "type", "veth", "peer", "name", "eth0", "netns", name)
	ip("addr", "add", fmt.Sprintf("198.18.%d.1/30", third), "dev", name+"h")
	ip("link", "set", name+"h", "up")
	ip("-n", name, "addr", "add", fmt.Sprintf("198.18.%d.2/30", third), "dev", "eth0")
	ip("-n", name, "link", "set", "eth0", "up")
	ip("-n", name, "route", "add", "default", "via", fmt.Sprintf("198.18.%d.1", third))
	address := fmt.Sprintf("198.18.%d.2:8080", third)
	serve(t, "/run/netns/"+name, address)
	return address
}

// serve answers "outside" at an address of a network namespace, "" for the host's own, until the test ends.
func serve(t *testing.T, namespace, address string) {
	t.Helper()
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintln(w, "outside")
	})}
	listening, done := make(chan error, 1), make(chan struct{})
	go func() {
		defer close(done)
		if namespace != "" {
			// The thread is in another namespace from here on, so it must not serve other goroutines: it ends with this one.
			runtime.LockOSThread()
		}
		listener, err := listenIn(namespace, address)
		listening <- err
		if err == nil {
			_ = server.Serve(listener)
		}
	}()
	t.Cleanup(func() { _ = server.Close(); <-done })
	if err := <-listening; err != nil {
		t.Fatal(err)
	}
}

func listenIn(namespace, address string) (net.Listener, error) {
	if namespace != "" {
		f, err := os.Open(namespace)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
			return nil, err
		}
	}
	return (&net.ListenConfig{}).Listen(context.Background(), "tcp", address)
}

// TestEgress: a job may reach out unless it says otherwise; it never reaches the host's own services or metadata addresses.
func TestEgress(t *testing.T) {
	t.Parallel()
	beyond, _, _ := strings.Cut(outside(t), ":")
	host := strings.TrimSuffix(beyond, ".2") + ".1"
	serve(t, "", host+":8081")
	probe := `
steps:
  - run: |
      fetch() { printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 3 $1 $2 2>/dev/null | tail -1 | grep . || echo "no $3"; }
      fetch ` + beyond + ` 8080 outside
      fetch ` + host + ` 8081 host
      fetch 169.254.169.254 80 metadata
      ping -c 1 -W 2 127.0.0.1 >/dev/null 2>&1 && echo loopback
      ip route | grep -c default || true
`
	p := newProject(t, map[string]string{
		".slipway/ci.yml": "on: push\njobs:\n  open:\n    runs-on: busybox\n" + indent(4, probe) + "  shut:\n    runs-on: busybox\n    egress: none\n" + indent(4, probe),
	})
	res := p.slipway("run", "-o", "json")
	if res.Code != succeeded {
		t.Fatalf("exit code %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	o := outcome{p, decodeRuns(t, res.Stdout)[0]}
	o.wantLog("open", "outside\nno host\nno metadata\nloopback\n1\n")
	o.wantLog("shut", "no outside\nno host\nno metadata\nloopback\n0\n")
}
