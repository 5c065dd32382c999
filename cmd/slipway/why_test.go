package main

import (
	"context"
	"flag"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/server"
	"github.com/slipway-ci/slipway/internal/cli/exit"
)

var update = flag.Bool("update", false, "write the golden files of this package")

// realCLI is the CLI beside a whole coordinator, which no agent has joined.
func realCLI(t *testing.T) *cli {
	t.Helper()
	reg := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
	t.Cleanup(reg.Close)
	host := strings.TrimPrefix(reg.URL, "http://")
	img, err := random.Image(10, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host+"/library/runner:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	conf := config.Default()
	conf.DataDir, conf.Listen, conf.Metrics, conf.Store.Kind = t.TempDir(), "127.0.0.1:0", "", config.StoreMemory
	conf.Runners = map[string]config.Runner{"ubuntu-latest": {Image: "runner:1", Pool: "default"}}
	conf.Registries = map[string]config.Registry{"docker.io": {Mirror: host, PlainHTTP: true}}
	srv, err := server.New(conf, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-srv.Ready():
	case err := <-done:
		t.Fatal(err)
	}
	token, err := os.ReadFile(filepath.Join(conf.DataDir, server.AdminTokenFile))
	if err != nil {
		t.Fatal(err)
	}
	c := newCLI(t, nil)
	c.env["SLIPWAY_ADDRESS"], c.env["SLIPWAY_CA"] = srv.Addr(), filepath.Join(conf.DataDir, server.CAFile)
	c.env["SLIPWAY_TOKEN"] = strings.TrimSpace(string(token))
	return c
}

// waiting is what the cases share: a chain, a job for others' labels, one that is skipped, and a concurrency group.
const waiting = `name: waiting
on: push
concurrency: {group: "${{ github.workflow }}", queue: max}
jobs:
  build:
    runs-on: ubuntu-latest
    steps: [{run: make}]
  gpu:
    runs-on: ubuntu-latest
    pool: gpu
    resources: {cpu: 4, memory: 8Gi}
    steps: [{run: make}]
  never:
    if: github.event_name == 'schedule'
    runs-on: ubuntu-latest
    steps: [{run: make}]
  deploy:
    needs: [build, gpu]
    runs-on: ubuntu-latest
    steps: [{run: make}]
  late:
    needs: never
    runs-on: ubuntu-latest
    steps: [{run: make}]
`

var waited = regexp.MustCompile(`\d+(m\d+)?s`)

// TestWhyAndDemandAsPeopleSeeThem goes the whole way: CLI, API, engine, and back.
func TestWhyAndDemandAsPeopleSeeThem(t *testing.T) {
	golden, err := filepath.Abs(filepath.Join("testdata", "why.txt"))
	if err != nil {
		t.Fatal(err)
	}
	c := realCLI(t)
	c.write(".slipway/waiting.yml", waiting)
	for range 2 {
		if code, _, errOut := c.run("run", ".slipway/waiting.yml", "--detach"); code != exit.OK {
			t.Fatal(errOut)
		}
	}
	if code, _, errOut := c.run("runs", "cancel", "2", "--reason", "not needed"); code != exit.OK {
		t.Fatal(errOut)
	}
	var b strings.Builder
	for _, args := range []string{"why 1", "why 1 deploy", "why 2", "why 1 nope", "why #7", "why 1 build --attempt 1", "why 1 --attempt 2", "demand", "demand -o json", "runs rerun 1", "runs rerun 2 --failed --job build"} {
		code, out, errOut := c.run(strings.Fields(args)...)
		b.WriteString("$ slipway " + args + "\n" + out + errOut)
		if code != exit.OK {
			b.WriteString("[" + string(rune('0'+code)) + "]\n")
		}
		b.WriteString("\n")
	}
	got := waited.ReplaceAllString(regexp.MustCompile(`"oldest_wait_ms": "\d+"`).ReplaceAllString(b.String(), `"oldest_wait_ms": "N"`), "TIME")
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
