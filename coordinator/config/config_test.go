package config_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/config"
)

const full = `
data_dir: /var/lib/slipway
listen: 0.0.0.0:7420
metrics: 127.0.0.1:7421
web: {listen: "0.0.0.0:7423", url: "https://ci.example.test", cert: /etc/web.pem, key: /etc/web.key}
hosts: [ci.example.test, 10.0.0.7]
store: {kind: memory}
runners:
  ubuntu-latest: {image: "slipway/runner:12", pool: default}
pools:
  forks: {isolation: untrusted, runtime: crun}
registries:
  docker.io: {mirror: "127.0.0.1:7430", plain_http: true, docker_config: /etc/docker.json}
agents: {heartbeat: 1s, idle_heartbeat: 4s, deadline: 5s, grace: 1m30s}
limits: {workflow_bytes: 1000, payload_bytes: 2000, blob_bytes: 3000}
projects: {team/app: {weight: 3, max_running: 20}}
debug: {max_hold: 2h}
scheduling:
  ageing: 1m
  keep_after: 2m
  min_disk_free: 4000
  priorities: [{project: "team/*", pipeline: .slipway/deploy.yml, event: release, priority: 5}]
`

func TestFullFile(t *testing.T) {
	got, err := config.Parse("slipway.yaml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	want := config.Config{
		DataDir: "/var/lib/slipway", Listen: "0.0.0.0:7420", Metrics: "127.0.0.1:7421", Hosts: []string{"ci.example.test", "10.0.0.7"},
		Web:        config.Web{Listen: "0.0.0.0:7423", URL: "https://ci.example.test", Cert: "/etc/web.pem", Key: "/etc/web.key"},
		Store:      config.Store{Kind: config.StoreMemory},
		Runners:    map[string]config.Runner{"ubuntu-latest": {Image: "slipway/runner:12", Pool: "default"}},
		Pools:      map[string]config.Pool{"forks": {Isolation: config.IsolationUntrusted, Runtime: "crun"}},
		Registries: map[string]config.Registry{"docker.io": {Mirror: "127.0.0.1:7430", PlainHTTP: true, DockerConfig: "/etc/docker.json"}},
		Agents:     config.Agents{Heartbeat: config.Duration(time.Second), IdleHeartbeat: config.Duration(4 * time.Second), Deadline: config.Duration(5 * time.Second), Grace: config.Duration(90 * time.Second)},
		Limits:     config.Limits{WorkflowBytes: 1000, PayloadBytes: 2000, BlobBytes: 3000},
		Projects:   map[string]config.Project{"team/app": {Weight: 3, MaxRunning: 20}},
		Scheduling: config.Scheduling{Ageing: config.Duration(time.Minute), KeepAfter: config.Duration(2 * time.Minute), MinDiskFree: 4000,
			Priorities: []config.Priority{{Project: "team/*", Pipeline: ".slipway/deploy.yml", Event: "release", Priority: 5}}},
		Debug:     config.Debug{MaxHold: config.Duration(2 * time.Hour)},
		Retention: config.Default().Retention,
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got %+v\nwant %+v", got, want)
	}
}

func TestEmptyFileIsTheDefault(t *testing.T) {
	for _, src := range []string{"", "# nothing\n", "{}"} {
		got, err := config.Parse("x", []byte(src))
		if err != nil || !reflect.DeepEqual(got, config.Default()) {
			t.Errorf("%q: %+v, %v", src, got, err)
		}
	}
}

func TestMistakesAreNamedWithTheirPlace(t *testing.T) {
	for _, c := range []struct{ src, want string }{
		{"runnners: {}", "slipway.yaml:1:1: unknown key `runnners` (did you mean `runners`?)"},
		{"zzzzzzzzzzzz: 1", "known here: agents, data_dir"},
		{"listen: x:1\nrunners:\n  u:\n    imag: a\n    pool: b", "slipway.yaml:4:5: unknown key `runners.u.imag` (did you mean `image`?)"},
		{"runners: {u: {pool: a}}", "slipway.yaml:1:11: `runners.u`: no image"},
		{"pools: {p: {isolatoin: untrusted}}", "slipway.yaml:1:13: unknown key `pools.p.isolatoin` (did you mean `isolation`?)"},
		{"pools: {p: {isolation: none}}", "slipway.yaml:1:13: `pools.p.isolation`: \"none\" is neither default nor untrusted"},
		{"pools: {p: {host_paths: [srv]}}", "slipway.yaml:1:13: `pools.p.host_paths`: \"srv\" is not an absolute path"},
		{"pools: {p: {host_paths: [/a/../b]}}", "\"/a/../b\" is not an absolute path without"},
		{"pools: {p: {isolation: untrusted, host_paths: [/a]}}", "an untrusted pool's jobs can't be given paths"},
		{"pools: {p: {runtime: /usr/bin/crun}}", "slipway.yaml:1:13: `pools.p.runtime`: \"/usr/bin/crun\" is not a runtime's name (a path or"},
		{"pools: {a/b: {}}", "slipway.yaml:1:9: `pools.a/b`: a pool's name is of letters"},
		{"runners: []", "slipway.yaml:1:10: `runners` must be a mapping"},
		{"[]", "`the file` must be a mapping"},
		{"hosts: a", "slipway.yaml:1:8: `hosts` must be a list"},
		{"hosts: [[a]]", "`hosts` must be a string"},
		{"listen: 7420", "slipway.yaml:1:9: `listen` must be a string"},
		{"listen: nowhere", "slipway.yaml:1:1: `listen`: \"nowhere\" is not host:port"},
		{"metrics: 0.0.0.0:1", "is not a loopback"},
		{"agents: {grace: soon}", "slipway.yaml:1:17: `agents.grace`: \"soon\" is not a duration"},
		{"agents: {deadline: 1s}", "at least two heartbeats"},
		{"agents: {grace: 1s}", "shorter than the deadline"},
		{"limits: {blob_bytes: 1.5}", "`limits.blob_bytes` must be a whole number"},
		{"limits: {blob_bytes: 0}", "is less than 1"},
		{"limits: {payload_bytes: 1048577}", "is more than 1048576"},
		{"store: {kind: paper}", "slipway.yaml:1:9: `store.kind`: \"paper\" is neither etcd, external nor memory"},
		{"data_dir: here", "not an absolute path"},
		{"listen: a:1\nlisten: b:1", "slipway.yaml:2:1: `listen` is there twice"},
		{"a: &x 1\nlisten: *x", "aliases are not supported"},
		{"registries: {docker.io: {plain_http: maybe}}", "must be true or false"},
		{"registries: {docker.io: {mirror: a/b}}", "a registry and its mirror are a host"},
		{"listen: [", "not valid YAML"},
		{"{}\n---\n{}", "more than one YAML document"},
		{"\x00\x01", "not valid YAML"},
	} {
		_, err := config.Parse("slipway.yaml", []byte(c.src))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q:\n got %v\nwant %s", c.src, err, c.want)
		}
	}
}

// TestAPoolsPolicy: what an untrusted pool must not have follows from its isolation alone.
func TestAPoolsPolicy(t *testing.T) {
	trusted, untrusted := config.Pool{Runtime: "crun"}, config.Pool{Isolation: config.IsolationUntrusted}
	if !trusted.Secrets() || trusted.Untrusted() || trusted.CacheScope("p") != "" {
		t.Errorf("%+v has secrets %v, scope %q", trusted, trusted.Secrets(), trusted.CacheScope("p"))
	}
	if untrusted.Secrets() || untrusted.CacheScope("p") == untrusted.CacheScope("q") || untrusted.CacheScope("p") == "" {
		t.Errorf("%+v has secrets %v, scope %q", untrusted, untrusted.Secrets(), untrusted.CacheScope("p"))
	}
}

func TestRunnersAreOfTheDefaultPool(t *testing.T) {
	c, err := config.Parse("x", []byte("runners: {u: {image: a}, v: {image: b, pool: p}}"))
	if err != nil || c.Runners["u"].Pool != config.DefaultPool || c.Runners["v"].Pool != "p" {
		t.Fatalf("%+v, %v", c.Runners, err)
	}
}

func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := config.Load(filepath.Join(dir, "absent")); !os.IsNotExist(unwrap(err)) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := config.Load(dir); err == nil {
		t.Error("a directory was read")
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, make([]byte, 2<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(big); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("a big file: %v", err)
	}
}

func unwrap(err error) error {
	for {
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return err
		}
		err = u.Unwrap()
	}
}

// The schema and the Go types must name the same keys with the same types, everywhere.
func TestSchemaAndTypesAgree(t *testing.T) {
	var schema map[string]any
	if err := json.Unmarshal(config.Schema, &schema); err != nil {
		t.Fatal(err)
	}
	agree(t, "", schema, reflect.TypeFor[config.Config](), reflect.ValueOf(config.Default()))
}

func agree(t *testing.T, at string, schema map[string]any, typ reflect.Type, def reflect.Value) {
	t.Helper()
	want := map[reflect.Kind]string{reflect.Struct: "object", reflect.Map: "object", reflect.Slice: "array", reflect.Bool: "boolean", reflect.String: "string", reflect.Int64: "integer"}[typ.Kind()]
	if typ == reflect.TypeFor[config.Duration]() {
		want = "string"
	}
	if schema["type"] != want {
		t.Errorf("%s: type %v in the schema, want %s", at, schema["type"], want)
		return
	}
	if d, ok := schema["default"]; ok && def.IsValid() && fmt.Sprint(d) != fmt.Sprint(plain(def)) && fmt.Sprintf("%.0f", d) != fmt.Sprint(plain(def)) {
		t.Errorf("%s: default %v in the schema, %v in Default", at, d, plain(def))
	}
	switch {
	case typ == reflect.TypeFor[config.Duration]():
	case typ.Kind() == reflect.Slice:
		agree(t, at+"[]", schema["items"].(map[string]any), typ.Elem(), reflect.Value{})
	case typ.Kind() == reflect.Map:
		agree(t, at+".*", schema["additionalProperties"].(map[string]any), typ.Elem(), reflect.Value{})
	case typ.Kind() == reflect.Struct:
		if schema["additionalProperties"] != false {
			t.Errorf("%s: the schema allows unknown keys", at)
		}
		props := schema["properties"].(map[string]any)
		var known []string
		for f := range typ.Fields() {
			key := f.Tag.Get("yaml")
			known = append(known, key)
			prop, ok := props[key].(map[string]any)
			if !ok {
				t.Errorf("%s.%s is not in the schema", at, key)
				continue
			}
			if prop["description"] == "" {
				t.Errorf("%s.%s has no description", at, key)
			}
			fieldDefault := reflect.Value{}
			if def.IsValid() {
				fieldDefault = def.FieldByIndex(f.Index)
			}
			agree(t, at+"."+key, prop, f.Type, fieldDefault)
		}
		for key := range props {
			if !slices.Contains(known, key) {
				t.Errorf("%s.%s is in the schema only", at, key)
			}
		}
	}
}

func plain(v reflect.Value) any {
	if d, ok := v.Interface().(config.Duration); ok {
		return d.Std().String()
	}
	return v.Interface()
}

func TestPrioritiesAreByProjectPipelineAndEvent(t *testing.T) {
	c, err := config.Parse("x", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		project, pipeline, event string
		want                     int64
	}{{"team/app", ".slipway/deploy.yml", "release", 5}, {"team/app", ".slipway/deploy.yml", "push", 0}, {"other/app", ".slipway/deploy.yml", "release", 0}} {
		if got := c.Scheduling.Priority(x.project, x.pipeline, x.event); got != x.want {
			t.Errorf("%+v: %d", x, got)
		}
	}
	for src, want := range map[string]string{
		"projects: {p: {weight: 1001}}":                           "is not from 0",
		"debug: {max_hold: 200h}":                                 "is not from 0s to 168h0m0s",
		"projects: {p: {max_running: -1}}":                        "is less than 0",
		"scheduling: {ageing: 10ms}":                              "is not from 1s to 24h",
		"scheduling: {min_disk_free: -1}":                         "is less than 0",
		"scheduling: {keep_after: -1s}":                           "is less than 0",
		"scheduling: {priorities: [{priority: 101}]}":             "the priority 101",
		"scheduling: {priorities: [{project: '[', priority: 1}]}": "is not a pattern",
	} {
		if _, err := config.Parse("x", []byte(src)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", src, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(full))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, src []byte) {
		if c, err := config.Parse("x", src); err == nil && c.Check() != nil {
			t.Fatal("Parse accepted what Check refuses")
		}
	})
}
