package network

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

const patience = 30 * time.Second

func need(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: NO REAL NETWORK IS TESTED: needs root")
	}
}

func ctx(t *testing.T) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return c
}

// newNetwork is one that is taken apart, and checked for leftovers, when the test ends.
func newNetwork(t *testing.T, change func(*Config)) *Network {
	t.Helper()
	need(t)
	cfg := Config{
		Dir: t.TempDir(), Bridge: fmt.Sprintf("slwn%d", os.Getpid()), Subnet: fmt.Sprintf("10.99.%d.0/24", os.Getpid()%250), Pool: -1,
	}
	if change != nil {
		change(&cfg)
	}
	n, err := Open(ctx(t), cfg, nil, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		names, err := n.List()
		if err != nil || len(names) > 0 {
			t.Errorf("left behind: %v, %v", names, err)
		}
		if err := n.Destroy(ctx(t)); err != nil {
			t.Error(err)
		}
		if out, _ := exec.Command("iptables-save").Output(); strings.Contains(string(out), cfg.Bridge) {
			t.Errorf("rules are left:\n%s", out)
		}
	})
	return n
}

func get(t *testing.T, n *Network, egress bool) Namespace {
	t.Helper()
	ns, err := n.Get(ctx(t), egress)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := n.Release(ctx(t), ns.Name); err != nil {
				t.Error(err)
			}
		}
	})
	return ns
}

// listen serves "hello" inside the namespace at path, or on the host for "".
func listen(t *testing.T, path, address string) (port string) {
	t.Helper()
	var l net.Listener
	serve := func() (err error) {
		l, err = net.Listen("tcp4", address)
		return err
	}
	var err error
	if path == "" {
		err = serve()
	} else {
		err = within(path, serve)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprintf(c, "hello %s", c.RemoteAddr().(*net.TCPAddr).IP)
			c.Close()
		}
	}()
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// dial returns what the address says to someone in the namespace.
func dial(path, address string) (said string, err error) {
	inner := within(path, func() error {
		c, err := net.DialTimeout("tcp4", address, 700*time.Millisecond)
		if err != nil {
			return err
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(5 * time.Second))
		data, err := io.ReadAll(c)
		said = string(data)
		return err
	})
	return said, inner
}

// addressOf is the pod's own, gateway the bridge's.
func addressOf(t *testing.T, ns Namespace) (own, gateway string) {
	t.Helper()
	err := within(ns.Path, func() error {
		link, err := netlink.LinkByName(interfaceName)
		if err != nil {
			return err
		}
		addresses, err := netlink.AddrList(link, netlink.FAMILY_V4)
		if err != nil || len(addresses) != 1 {
			return errors.Join(err, fmt.Errorf("%d addresses", len(addresses)))
		}
		own = addresses[0].IP.String()
		v6, err := netlink.AddrList(link, netlink.FAMILY_V6)
		if len(v6) > 0 {
			t.Errorf("the pod has IPv6 addresses %v", v6)
		}
		routes, rerr := netlink.RouteList(link, netlink.FAMILY_V4)
		for _, r := range routes {
			if r.Gw != nil {
				gateway = r.Gw.String()
			}
		}
		return errors.Join(err, rerr)
	})
	if err != nil || gateway == "" {
		t.Fatalf("the pod's address: %v, gateway %q", err, gateway)
	}
	return own, gateway
}

// outside is a namespace that stands for the internet: 198.18.X.2, reached through the host.
func outside(t *testing.T, n *Network) (ns Namespace, address, host string) {
	t.Helper()
	ns = get(t, n, false)
	name := fmt.Sprintf("slwo%d", os.Getpid())
	net3 := fmt.Sprintf("198.18.%d.", os.Getpid()%250)
	script := fmt.Sprintf(`set -e
ip link add %[1]s type veth peer name %[1]sp
ip link set %[1]sp netns %[2]s
ip addr add %[3]s1/24 dev %[1]s
ip link set %[1]s up
nsenter --net=%[2]s ip addr add %[3]s2/24 dev %[1]sp
nsenter --net=%[2]s ip link set %[1]sp up`, name, ns.Path, net3)
	if out, err := exec.Command("sh", "-c", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("ip", "link", "del", name).Run() })
	return ns, net3 + "2", net3 + "1"
}

func TestWhatAPodReaches(t *testing.T) {
	n := newNetwork(t, nil)
	a, b := get(t, n, true), get(t, n, true)
	bAddress, gateway := addressOf(t, b)
	out, outAddress, hostAddress := outside(t, n)
	outPort := listen(t, out.Path, ":0")
	metadata := listen(t, out.Path, ":0")
	if o, err := exec.Command("nsenter", "--net="+out.Path, "ip", "addr", "add", "169.254.169.254/32", "dev", "lo").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, o)
	}
	route := []string{"169.254.169.254/32", "via", outAddress}
	if o, err := exec.Command("ip", append([]string{"route", "add"}, route...)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, o)
	}
	t.Cleanup(func() { _ = exec.Command("ip", append([]string{"route", "del"}, route...)...).Run() })
	hostPort := listen(t, "", ":0")
	bPort := listen(t, b.Path, ":0")

	said, err := dial(a.Path, net.JoinHostPort(outAddress, outPort))
	if err != nil || said != "hello "+hostAddress {
		t.Errorf("the outside through masquerade: %q, %v; want the host's address %s", said, err, hostAddress)
	}
	if said, err := dial(b.Path, "127.0.0.1:"+bPort); err != nil || said != "hello 127.0.0.1" {
		t.Errorf("the pod's own loopback: %q, %v", said, err)
	}
	c, err := net.DialTimeout("tcp4", net.JoinHostPort("169.254.169.254", metadata), patience)
	if err != nil {
		t.Fatalf("the host itself must reach the metadata server, or the test proves nothing: %v", err)
	}
	c.Close()
	for what, address := range map[string]string{
		"another pod":                       net.JoinHostPort(bAddress, bPort),
		"a service on the gateway address":  net.JoinHostPort(gateway, hostPort),
		"a service on the host's address":   net.JoinHostPort(hostAddress, hostPort),
		"the cloud's metadata":              net.JoinHostPort("169.254.169.254", metadata),
		"the host's loopback, as the pod's": "127.0.0.1:" + hostPort,
	} {
		if said, err := dial(a.Path, address); err == nil {
			t.Errorf("%s is reachable and says %q", what, said)
		}
	}
}

func TestNameserverOnTheHostIsReachable(t *testing.T) {
	_, gateway := "", fmt.Sprintf("10.99.%d.1", os.Getpid()%250)
	n := newNetwork(t, func(c *Config) { c.Nameservers = []string{gateway, "127.0.0.53", "::1"} })
	ns := get(t, n, true)
	l, err := net.Listen("tcp4", gateway+":53")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			fmt.Fprint(c, "answer")
			c.Close()
		}
	}()
	if said, err := dial(ns.Path, gateway+":53"); err != nil || said != "answer" {
		t.Errorf("the nameserver: %q, %v", said, err)
	}
}

func TestWithoutEgressOnlyLoopback(t *testing.T) {
	n := newNetwork(t, nil)
	ns := get(t, n, false)
	err := within(ns.Path, func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			if l.Attrs().Flags&net.FlagLoopback == 0 && l.Attrs().Flags&net.FlagUp != 0 {
				t.Errorf("interface %s is up", l.Attrs().Name)
			}
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	port := listen(t, ns.Path, "127.0.0.1:0")
	if said, err := dial(ns.Path, "127.0.0.1:"+port); err != nil || said != "hello 127.0.0.1" {
		t.Errorf("loopback: %q, %v", said, err)
	}
}

func TestPublishRedirects(t *testing.T) {
	n := newNetwork(t, nil)
	ns := get(t, n, false)
	listen(t, ns.Path, "0.0.0.0:5432")
	if err := n.Publish(ctx(t), ns.Name, []Redirect{{From: 15432, To: 5432}}); err != nil {
		t.Fatal(err)
	}
	if said, err := dial(ns.Path, "127.0.0.1:15432"); err != nil || said != "hello 127.0.0.1" {
		t.Errorf("redirected port: %q, %v", said, err)
	}
}

func TestPoolIsFilledAndLeftoversAreReleased(t *testing.T) {
	n := newNetwork(t, func(c *Config) { c.Pool = 2 })
	kept := get(t, n, true)
	for deadline := time.Now().Add(patience); len(n.idle) < 2; {
		if time.Now().After(deadline) {
			t.Fatal("the pool never filled")
		}
		<-time.After(5 * time.Millisecond)
	}
	// The process dies: nothing is released. Its successor keeps what a pod uses and releases the rest.
	n.stop()
	n.done.Wait()
	for range 2 {
		<-n.idle
	}
	cfg := n.cfg
	cfg.Pool = -1
	next, err := Open(ctx(t), cfg, []string{kept.Name}, n.log)
	if err != nil {
		t.Fatal(err)
	}
	names, err := next.List()
	if err != nil || len(names) != 1 || names[0] != kept.Name {
		t.Errorf("after the restart: %v, %v; want %s", names, err, kept.Name)
	}
	if err := next.Close(); err != nil {
		t.Error(err)
	}
}

func TestRulesAreAppliedTwiceWithoutDoubling(t *testing.T) {
	n := newNetwork(t, nil)
	get(t, n, true)
	before, err := exec.Command("iptables-save").Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := n.rules().install(ctx(t)); err != nil {
		t.Fatal(err)
	}
	after, err := exec.Command("iptables-save").Output()
	if err != nil {
		t.Fatal(err)
	}
	if count := func(b []byte) int { return strings.Count(string(b), n.cfg.Bridge) }; count(before) != count(after) {
		t.Errorf("%d mentions of the bridge became %d", count(before), count(after))
	}
}

func TestBadConfiguration(t *testing.T) {
	for says, cfg := range map[string]Config{
		"network.subnet": {Dir: t.TempDir(), Subnet: "10.0.0.0/99"},
		"network.bridge": {Dir: t.TempDir(), Bridge: "a-very-long-bridge-name"},
	} {
		if _, err := Open(ctx(t), cfg, nil, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}
