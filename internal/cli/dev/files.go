package dev

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/slipway-ci/slipway/internal/cli/agentconf"
	"github.com/slipway-ci/slipway/internal/cli/settings"
	"github.com/slipway-ci/slipway/sdk/client"
)

// wantedConfig is the coordinator's configuration: the file that was named, or what an earlier start kept.
func (d *Dev) wantedConfig() ([]byte, error) {
	path := d.cfg.Coordinator
	if path == "" {
		path = d.coordinatorConfig()
	}
	b, err := os.ReadFile(path)
	if d.cfg.Coordinator == "" && errors.Is(err, fs.ErrNotExist) {
		return []byte("# The defaults of `slipway coordinator`; start `slipway dev --config FILE` to have others.\n"), nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the coordinator's configuration: %w", err)
	}
	return b, nil
}

// wantedAgent is the agent's configuration. Names and addresses derive from the data directory, so that stacks in
// different directories do not meet on one host.
func (d *Dev) wantedAgent() ([]byte, error) {
	source := d.cfg.Coordinator
	if source == "" {
		source = d.coordinatorConfig()
	}
	var mirrors []string
	if _, err := os.Stat(source); err == nil {
		if mirrors, err = d.cfg.Mirrors(source); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256([]byte(d.cfg.Dirs.Data))
	name, bridge := fmt.Sprintf("slipway-%x", sum[:3]), fmt.Sprintf("slw%x", sum[:3])
	subnet, err := d.network(bridge, binary.BigEndian.Uint16(sum[3:5]))
	if err != nil {
		return nil, err
	}
	c := agentconf.Config{
		Coordinator: d.cfg.Listen, DataDir: d.agentData(), TokenFile: d.joinTokenFile(), CA: d.caFile(), Metrics: d.cfg.AgentMetrics, Slots: d.cfg.Slots,
		Sandbox: agentconf.Sandbox{
			Socket: d.socket, Namespace: name, Cgroup: "/" + name, Bridge: bridge, Subnet: subnet, WarmPods: &d.cfg.WarmPods,
			Registries: map[string]agentconf.Registry{},
			// Jobs see the network as the developer's shell does: behind the same proxy, with the same authorities.
			CABundle: d.cfg.Getenv("SSL_CERT_FILE"),
			PassEnv:  []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "npm_config_registry"},
		},
	}
	for _, m := range mirrors {
		c.Sandbox.Registries[m] = agentconf.Registry{PlainHTTP: true}
	}
	return yaml.Marshal(c)
}

// writeFiles brings directories and configurations onto the disk.
func (d *Dev) writeFiles() error {
	for _, dir := range []string{d.cfg.Dirs.State, d.cfg.Dirs.Runtime, d.stack.Dir, d.coordinatorData(), d.agentData()} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("dev: %w", err)
		}
	}
	conf, err := d.wantedConfig()
	if err != nil {
		return err
	}
	if err := settings.WriteFile(d.coordinatorConfig(), conf, 0o600); err != nil {
		return err
	}
	agent, err := d.wantedAgent()
	if err != nil {
		return err
	}
	return settings.WriteFile(d.agentConfig(), agent, 0o600)
}

// prepareAgent makes a join token, which the agent uses if it has no valid certificate. An identity that another CA
// signed (the coordinator's data were deleted) is put away: it can never work again.
func (d *Dev) prepareAgent(ctx context.Context) error {
	d.agentSince.Store(time.Now().UnixMilli())
	ca, err := os.ReadFile(d.caFile())
	if err != nil {
		return fmt.Errorf("reading the coordinator's CA: %w", err)
	}
	mark := filepath.Join(d.agentData(), "dev-ca.sha256")
	if known, err := os.ReadFile(mark); err == nil && string(known) != fingerprint(ca) {
		if err := os.RemoveAll(filepath.Join(d.agentData(), "identity")); err != nil {
			return fmt.Errorf("removing the identity that another CA signed: %w", err)
		}
	}
	if err := settings.WriteFile(mark, []byte(fingerprint(ca)), 0o600); err != nil {
		return err
	}
	c, err := d.client()
	if err != nil {
		return err
	}
	defer c.Release()
	token, err := c.CreateJoinToken(ctx, client.JoinToken{Pool: "default"})
	if err != nil {
		return err
	}
	return settings.WriteFile(d.joinTokenFile(), []byte(token.Secret+"\n"), 0o600)
}

// writeContext lets the CLI find the coordinator.
func (d *Dev) writeContext() error {
	token, err := os.ReadFile(filepath.Join(d.coordinatorData(), d.cfg.AdminTokenFile))
	if err != nil {
		return err
	}
	path := d.cfg.Dirs.ContextFile()
	f, err := settings.Load(path)
	if err != nil {
		return err
	}
	f.Put(ContextName, settings.Context{Address: d.cfg.Listen, CA: d.caFile(), Token: string(trim(token))})
	return f.Save(path)
}

func trim(b []byte) []byte {
	for len(b) > 0 && (b[len(b)-1] == '\n' || b[len(b)-1] == '\r') {
		b = b[:len(b)-1]
	}
	return b
}

// contextWritten says whether the context file has the coordinator's current token.
func (d *Dev) contextWritten() bool {
	token, err := os.ReadFile(filepath.Join(d.coordinatorData(), d.cfg.AdminTokenFile))
	if err != nil {
		return false
	}
	f, err := settings.Load(d.cfg.Dirs.ContextFile())
	return err == nil && f.Contexts[ContextName].Token == string(trim(token)) && f.Contexts[ContextName].Address == d.cfg.Listen
}

// lastLines is the end of a log, for an error message.
func lastLines(path string) string {
	const most = 1200
	b, err := os.ReadFile(path)
	if err != nil || len(b) == 0 {
		return "its log " + path + " says nothing"
	}
	if len(b) > most {
		b = b[len(b)-most:]
	}
	return "the end of its log " + path + " is:\n" + string(trim(b))
}
