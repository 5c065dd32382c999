package network

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink"
)

// Config of a host's pod network. Two networks on one host need different bridges and subnets.
type Config struct {
	// Dir is kept between runs: pins, addresses in use.
	Dir string
	// Bridge is the interface's name, at most 15 bytes; "" is slipway0.
	Bridge string
	// Subnet of the pods' addresses, IPv4; "" is 10.88.0.0/16.
	Subnet string
	// Nameservers are reachable from pods on port 53 wherever they are.
	Nameservers []string
	// Pool is how many namespaces with egress are kept ready; 0 means 4, negative none.
	Pool int
}

// Names of namespaces begin with what they are.
const (
	prefixEgress   = "e-"
	prefixLoopback = "l-"
	interfaceName  = "eth0"
	defaultPool    = 4
	attachPatience = 30 * time.Second
)

// Namespace is a pod's network.
type Namespace struct {
	// Name for Release; Path for the runtime.
	Name, Path string
}

// Network makes and takes back namespaces. Safe for concurrent use.
type Network struct {
	cfg       Config
	log       *slog.Logger
	addresses *addresses
	mtu       int
	idle      chan Namespace
	want      chan struct{}
	stop      context.CancelFunc
	done      sync.WaitGroup

	mu    sync.Mutex
	ready bool // bridge and rules are there
}

// Open takes over the network of an earlier process: namespaces that inUse does not name are released.
func Open(ctx context.Context, cfg Config, inUse []string, log *slog.Logger) (*Network, error) {
	if cfg.Bridge == "" {
		cfg.Bridge = "slipway0"
	}
	if cfg.Subnet == "" {
		cfg.Subnet = "10.88.0.0/16"
	}
	if cfg.Pool == 0 {
		cfg.Pool = defaultPool
	}
	subnet, err := netip.ParsePrefix(cfg.Subnet)
	if err != nil || !subnet.Addr().Is4() || subnet.Bits() > 30 {
		return nil, fmt.Errorf("network.subnet %q: want an IPv4 network of at least four addresses, like 10.88.0.0/16", cfg.Subnet)
	}
	if len(cfg.Bridge) > 15 {
		return nil, fmt.Errorf("network.bridge %q: an interface's name has at most 15 bytes", cfg.Bridge)
	}
	n := &Network{cfg: cfg, log: log, idle: make(chan Namespace, max(cfg.Pool, 0)), want: make(chan struct{}, 1)}
	if err := os.MkdirAll(n.pins(), 0o700); err != nil {
		return nil, fmt.Errorf("network state: %w", err)
	}
	if n.mtu, err = uplinkMTU(); err != nil {
		n.mtu = 0 // the kernel's default
	}
	exists := func(owner string) bool {
		_, err := os.Lstat(n.path(filepath.Base(owner)))
		return err == nil
	}
	if n.addresses, err = openAddresses(filepath.Join(cfg.Dir, "ipam", "slipway-"+cfg.Bridge), subnet, exists); err != nil {
		return nil, err
	}
	names, err := n.List()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if slices.Contains(inUse, name) {
			continue
		}
		if err := n.Release(ctx, name); err != nil {
			return nil, fmt.Errorf("cleaning up after an earlier agent: %w", err)
		}
	}
	background, stop := context.WithCancel(context.Background())
	n.stop = stop
	if cfg.Pool > 0 {
		n.done.Add(1)
		go n.fill(background)
		n.kick()
	}
	return n, nil
}

func (n *Network) pins() string { return filepath.Join(n.cfg.Dir, "ns") }

func (n *Network) path(name string) string { return filepath.Join(n.pins(), name) }

// uplinkMTU is the MTU towards the default route, so that pods never send what the host can't pass on.
func uplinkMTU() (int, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return 0, err
	}
	for _, r := range routes {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			link, err := netlink.LinkByIndex(r.LinkIndex)
			if err != nil {
				return 0, err
			}
			return link.Attrs().MTU, nil
		}
	}
	return 0, errors.New("no default route")
}

// Get returns a namespace of its own for a pod: with egress from the pool if one is ready.
func (n *Network) Get(ctx context.Context, egress bool) (Namespace, error) {
	if !egress {
		name := newName(prefixLoopback)
		return Namespace{Name: name, Path: n.path(name)}, create(n.path(name))
	}
	select {
	case ns := <-n.idle:
		n.kick()
		return ns, nil
	default:
		return n.make(ctx)
	}
}

// Publish redirects ports inside a namespace.
func (n *Network) Publish(ctx context.Context, name string, redirects []Redirect) error {
	if len(redirects) == 0 {
		return nil
	}
	return within(n.path(name), func() error {
		return run(ctx, redirectScript(redirects), "iptables-restore", "-w", "--noflush")
	})
}

// List names every namespace there is, idle ones too.
func (n *Network) List() ([]string, error) {
	entries, err := os.ReadDir(n.pins())
	if err != nil {
		return nil, fmt.Errorf("listing network namespaces: %w", err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, nil
}

// Release gives the address back and lets the namespace go. Idempotent.
func (n *Network) Release(_ context.Context, name string) error {
	if name == "" || name != filepath.Base(name) {
		return fmt.Errorf("releasing network namespace: bad name %q", name)
	}
	path := n.path(name)
	if _, err := os.Lstat(path); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if strings.HasPrefix(name, prefixEgress) {
		if err := n.detach(name); err != nil {
			return err
		}
	}
	return unpin(path)
}

// Close stops preparing and releases what is idle; namespaces in use stay.
func (n *Network) Close() error {
	n.stop()
	n.done.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), attachPatience)
	defer cancel()
	var errs []error
	for {
		select {
		case ns := <-n.idle:
			errs = append(errs, n.Release(ctx, ns.Name))
		default:
			return errors.Join(errs...)
		}
	}
}

// Destroy also removes the bridge and the packet filter rules. Call it after Close, when no pod is left.
func (n *Network) Destroy(ctx context.Context) error {
	err := n.rules().remove(ctx)
	if link, linkErr := netlink.LinkByName(n.cfg.Bridge); linkErr == nil {
		err = errors.Join(err, netlink.LinkDel(link))
	}
	return err
}

func (n *Network) rules() rules {
	return rules{bridge: n.cfg.Bridge, subnet: n.cfg.Subnet, nameservers: routable(n.cfg.Nameservers)}
}

func newName(prefix string) string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return prefix + hex.EncodeToString(b[:])
}
