// Package config reads the coordinator's configuration: one YAML file, every key known or refused with its position. The same keys
// are in schema.json for editors; a test holds the two against each other.
package config

import (
	_ "embed"
	"time"
)

// Schema is the JSON schema (draft 2020-12) of the configuration file.
//
//go:embed schema.json
var Schema []byte

// Config is a coordinator's configuration. Default has the values for what a file does not say.
type Config struct {
	// DataDir holds the CA, the blobs, the logs and the embedded store. Absolute.
	DataDir string `yaml:"data_dir"`
	// Listen is the address of the gRPC server, host:port; port 0 takes a free one.
	Listen string `yaml:"listen"`
	// Metrics is the loopback address of /metrics and /healthz; "" for none.
	Metrics string `yaml:"metrics"`
	// Web is where browsers see the runs; off without an address.
	Web Web `yaml:"web"`
	// Hosts are the DNS names and IP addresses by which clients and agents reach this coordinator; 127.0.0.1 and localhost always are.
	Hosts []string `yaml:"hosts"`
	// Store is where run state is kept.
	Store Store `yaml:"store"`
	// Runners maps a label of `runs-on` to what it means here.
	Runners map[string]Runner `yaml:"runners"`
	// Pools are the policies of pools of agents.
	Pools map[string]Pool `yaml:"pools"`
	// Registries maps a public registry's host to where its images are taken from.
	Registries map[string]Registry `yaml:"registries"`
	// Agents says how long agents may be silent.
	Agents Agents `yaml:"agents"`
	// Limits bound what callers may send.
	Limits Limits `yaml:"limits"`
	// Projects are the projects' parts of the agents.
	Projects map[string]Project `yaml:"projects"`
	// Scheduling says in which order jobs are placed, and where none is.
	Scheduling Scheduling `yaml:"scheduling"`
	// Retention says how long finished runs are kept.
	Retention Retention `yaml:"retention"`
	// Debug is how the pods of failed jobs may be held.
	Debug Debug `yaml:"debug"`
	// Secrets says which key seals the secrets.
	Secrets Secrets `yaml:"secrets"`
}

// Store is where run state is kept.
type Store struct {
	// Kind is "etcd" (embedded), "external" (an etcd of others) or "memory" (gone when the process ends: for tests).
	Kind string `yaml:"kind"`
	// External is for kind external.
	External ExternalEtcd `yaml:"external"`
}

// DefaultPool is the pool of a runner that names none.
const DefaultPool = "default"

// The kinds of stores.
const (
	StoreEtcd   = "etcd"
	StoreMemory = "memory"
	// StoreExternal is an etcd that others run.
	StoreExternal = "external"
)

// NoImage is the image of a runner whose agents run jobs without containers (`sandbox.kind: process`). It is the name that
// registries reserve for an empty image, so there never is another one of that name.
const NoImage = "scratch"

// Runner is what a label of `runs-on` means.
type Runner struct {
	// Image in which jobs without a `container` run; NoImage where agents have no containers.
	Image string `yaml:"image"`
	// Pool of agents that take such jobs; "default" where a file does not say.
	Pool string `yaml:"pool"`
}

// Registry is where the images of a public registry are taken from.
type Registry struct {
	// Mirror is the host that has them under the same repository paths; "" is the registry itself.
	Mirror string `yaml:"mirror"`
	// PlainHTTP: the mirror (or the registry) speaks http, not https.
	PlainHTTP bool `yaml:"plain_http"`
	// DockerConfig is a docker config.json with credentials; "" for none.
	DockerConfig string `yaml:"docker_config"`
}

// Agents says how long agents may be silent.
type Agents struct {
	// Heartbeat is the time between two signs of life.
	Heartbeat Duration `yaml:"heartbeat"`
	// IdleHeartbeat is that of an agent that holds no job; less than Heartbeat is Heartbeat.
	IdleHeartbeat Duration `yaml:"idle_heartbeat"`
	// Deadline is how long a session may be silent before it is ended; one without a job may be by Leave longer.
	Deadline Duration `yaml:"deadline"`
	// Grace is how long the attempts of an absent agent are kept.
	Grace Duration `yaml:"grace"`
}

// Leave is how much longer than others an agent may be silent that holds no job.
func (a Agents) Leave() time.Duration { return max(0, a.IdleHeartbeat.Std()-a.Heartbeat.Std()) }

// MostPayloadBytes is what Limits.PayloadBytes may be: a payload is part of a record in the store.
const MostPayloadBytes = 1 << 20

// Limits bound what callers may send.
type Limits struct {
	// WorkflowBytes of a workflow file.
	WorkflowBytes int64 `yaml:"workflow_bytes"`
	// PayloadBytes of an event's payload; at most MostPayloadBytes.
	PayloadBytes int64 `yaml:"payload_bytes"`
	// BlobBytes of a source tree or an artifact.
	BlobBytes int64 `yaml:"blob_bytes"`
}

// Default returns the configuration of an empty file. DataDir is empty and must be set.
func Default() Config {
	return Config{
		Listen:     "127.0.0.1:7420",
		Metrics:    "127.0.0.1:7421",
		Store:      Store{Kind: StoreEtcd},
		Agents:     Agents{Heartbeat: Duration(2 * time.Second), IdleHeartbeat: Duration(12 * time.Second), Deadline: Duration(10 * time.Second), Grace: Duration(time.Minute)},
		Scheduling: Scheduling{Ageing: Duration(5 * time.Minute), KeepAfter: Duration(10 * time.Minute), MinDiskFree: 1 << 30},
		Debug:      Debug{MaxHold: Duration(4 * time.Hour)},
		Retention:  defaultRetention(),
		Limits:     Limits{WorkflowBytes: 1 << 20, PayloadBytes: MostPayloadBytes, BlobBytes: 2 << 30},
	}
}

// Duration is a time.Duration that YAML writes as "90s" or "1h30m".
type Duration time.Duration

// UnmarshalText implements encoding.TextUnmarshaler.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// MarshalText implements encoding.TextMarshaler.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }
