package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Check says what is wrong with a configuration, however it was made.
func (c Config) Check() error { return c.check("configuration", nil) }

// check finds values that no shape shows; root gives positions and may be nil.
func (c Config) check(path string, root *yaml.Node) error {
	var problems []error
	add := func(key []string, hint, format string, args ...any) {
		line, column := position(root, key)
		problems = append(problems, &Problem{Path: path, Line: line, Column: column, Hint: hint, Message: "`" + strings.Join(key, ".") + "`: " + fmt.Sprintf(format, args...)})
	}
	if c.DataDir != "" && !filepath.IsAbs(c.DataDir) {
		add([]string{"data_dir"}, "", "%q is not an absolute path", c.DataDir)
	}
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		add([]string{"listen"}, "", "%q is not host:port", c.Listen)
	}
	if c.Metrics != "" && !loopback(c.Metrics) {
		add([]string{"metrics"}, "it has no authentication; let a local collector read it", "%q is not a loopback IP address with a port", c.Metrics)
	}
	switch c.Store.Kind {
	case StoreEtcd, StoreMemory:
	case StoreExternal:
		c.Store.External.check(func(key, message string) { add([]string{"store", "external", key}, "", "%s", message) })
	default:
		add([]string{"store", "kind"}, "", "%q is neither %s, %s nor %s", c.Store.Kind, StoreEtcd, StoreExternal, StoreMemory)
	}
	for label, r := range c.Runners {
		if r.Image == "" {
			add([]string{"runners", label}, "", "no image")
		}
		if r.Pool == "" {
			add([]string{"runners", label}, "name the pool of agents, such as default", "no pool")
		}
	}
	c.checkPools(add)
	c.checkScheduling(add)
	c.checkRetention(add)
	c.checkDebug(add)
	c.checkWeb(add)
	c.checkSecrets(add)
	for host, r := range c.Registries {
		if strings.ContainsAny(host, "/@ ") || strings.ContainsAny(r.Mirror, "/@ ") {
			add([]string{"registries", host}, "repository paths are kept", "a registry and its mirror are a host, or host:port")
		}
	}
	if h, d := c.Agents.Heartbeat.Std(), c.Agents.Deadline.Std(); h < 10*time.Millisecond || d < 2*h {
		add([]string{"agents", "deadline"}, "", "heartbeats every %v and a deadline of %v: want at least 10ms, and a deadline of at least two heartbeats", h, d)
	}
	if c.Agents.Grace.Std() < c.Agents.Deadline.Std() {
		add([]string{"agents", "grace"}, "", "%v is shorter than the deadline, %v", c.Agents.Grace.Std(), c.Agents.Deadline.Std())
	}
	for key, v := range map[string]int64{"workflow_bytes": c.Limits.WorkflowBytes, "payload_bytes": c.Limits.PayloadBytes, "blob_bytes": c.Limits.BlobBytes} {
		if v < 1 {
			add([]string{"limits", key}, "", "%d is less than 1", v)
		}
	}
	if c.Limits.PayloadBytes > MostPayloadBytes {
		add([]string{"limits", "payload_bytes"}, "payloads are kept in the store", "%d is more than %d", c.Limits.PayloadBytes, MostPayloadBytes)
	}
	return errors.Join(problems...)
}

func loopback(address string) bool {
	a, err := netip.ParseAddrPort(address)
	return err == nil && a.Addr().IsLoopback()
}

// position finds a key's place, or that of the nearest one above it; 0 without a tree.
func position(n *yaml.Node, keys []string) (line, column int) {
	for _, key := range keys {
		if n == nil || n.Kind != yaml.MappingNode {
			break
		}
		var value *yaml.Node
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == key {
				line, column = n.Content[i].Line, n.Content[i].Column
				value = n.Content[i+1]
			}
		}
		n = value
	}
	return line, column
}
