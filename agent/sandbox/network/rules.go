package network

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"strings"
)

// rules are the host's packet filter rules for one bridge, in chains of our own.
type rules struct {
	bridge, subnet string
	nameservers    []string
}

func (r rules) forward() string { return "SLW-FWD-" + r.bridge }
func (r rules) input() string   { return "SLW-IN-" + r.bridge }
func (r rules) nat() string     { return "SLW-NAT-" + r.bridge }

// script is iptables-restore's input; naming a chain empties it, so that applying it again changes nothing.
func (r rules) script() string {
	var b strings.Builder
	p := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	p("*filter")
	p(":%s - [0:0]", r.forward())
	p(":%s - [0:0]", r.input())
	p("-A %s -o %s -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT", r.forward(), r.bridge)
	p("-A %s -o %s -j DROP", r.forward(), r.bridge) // also one pod to another
	p("-A %s ! -s %s -j DROP", r.forward(), r.subnet)
	p("-A %s -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT", r.input())
	for _, ns := range r.nameservers {
		for _, proto := range []string{"udp", "tcp"} {
			p("-A %s -d %s -p %s --dport 53 -j ACCEPT", r.forward(), ns, proto)
			p("-A %s -s %s -d %s -p %s --dport 53 -j ACCEPT", r.input(), r.subnet, ns, proto)
		}
	}
	p("-A %s -d 169.254.0.0/16 -j REJECT", r.forward())
	p("-A %s -j ACCEPT", r.forward())
	p("-A %s -j REJECT", r.input())
	p("COMMIT")
	p("*nat")
	p(":%s - [0:0]", r.nat())
	p("-A %s ! -d %s -j MASQUERADE", r.nat(), r.subnet)
	p("COMMIT")
	return b.String()
}

// jumps lead into our chains; a chain that sees the packets of other interfaces would slow them down.
func (r rules) jumps() [][]string {
	return [][]string{
		{"filter", "FORWARD", "-i", r.bridge, "-j", r.forward()},
		{"filter", "FORWARD", "-o", r.bridge, "-j", r.forward()},
		{"filter", "INPUT", "-i", r.bridge, "-j", r.input()},
		{"nat", "POSTROUTING", "-s", r.subnet, "-j", r.nat()},
	}
}

func (r rules) install(ctx context.Context) error {
	if err := run(ctx, r.script(), "iptables-restore", "-w", "--noflush"); err != nil {
		return err
	}
	for _, j := range r.jumps() {
		if run(ctx, "", "iptables", rule("-C", j)...) == nil {
			continue
		}
		if err := run(ctx, "", "iptables", rule("-I", j)...); err != nil {
			return err
		}
	}
	return nil
}

// remove deletes what install made, as far as it is there.
func (r rules) remove(ctx context.Context) error {
	for _, j := range r.jumps() {
		for run(ctx, "", "iptables", rule("-D", j)...) == nil && ctx.Err() == nil {
		}
	}
	for table, chains := range map[string][]string{"filter": {r.forward(), r.input()}, "nat": {r.nat()}} {
		for _, chain := range chains {
			if run(ctx, "", "iptables", "-w", "-t", table, "-S", chain) != nil {
				continue // not there
			}
			for _, op := range []string{"-F", "-X"} {
				if err := run(ctx, "", "iptables", "-w", "-t", table, op, chain); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func rule(op string, j []string) []string {
	return append([]string{"-w", "-t", j[0], op}, j[1:]...)
}

func run(ctx context.Context, stdin, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Redirect makes connections to localhost:From inside a pod arrive at port To.
type Redirect struct{ From, To int }

// redirectScript is iptables-restore's input for a pod's own namespace.
func redirectScript(redirects []Redirect) string {
	var b strings.Builder
	b.WriteString("*nat\n")
	for _, r := range redirects {
		for _, proto := range []string{"tcp", "udp"} {
			fmt.Fprintf(&b, "-A OUTPUT -d 127.0.0.0/8 -p %s --dport %d -j REDIRECT --to-ports %d\n", proto, r.From, r.To)
		}
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// routable keeps the nameservers that a pod can reach: IPv4, and not the host's loopback.
func routable(servers []string) []string {
	var out []string
	for _, s := range servers {
		if ip := net.ParseIP(s); ip != nil && ip.To4() != nil && !ip.IsLoopback() {
			out = append(out, s)
		}
	}
	return out
}
