// Package dockeropts reads the `options` and `ports` of a container, which GitHub hands to `docker create` as they are,
// into what Slipway does itself. An option that it can't do is an error by name.
package dockeropts

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/quantity"
)

// Options is what `options` says. Zero values are not given.
type Options struct {
	// Health over the image's own HEALTHCHECK; NoHealth switches that off.
	Health   Health
	NoHealth bool
	User     string
	Hostname string
	WorkDir  string
	// Entrypoint replaces the image's.
	Entrypoint string
	// Env has NAME=VALUE items, Aliases extra network names.
	Env, Aliases []string
	// CPUMilli is thousandths of a core, Memory bytes.
	CPUMilli, Memory, PIDs int64
}

// Health is a probe. Fields that are not given are zero; the image's own apply, then Docker's defaults.
type Health struct {
	// Command is run by a shell; "" means the image's.
	Command                                       string
	Interval, Timeout, StartPeriod, StartInterval time.Duration
	Retries                                       int
}

// Check says which of the options can't be done: an error by name. A service takes fewer than a job's container, whose
// limits are those of the job.
func (o Options) Check(service bool) error {
	for _, u := range []struct {
		name string
		used bool
	}{
		{"--hostname", o.Hostname != ""}, {"--entrypoint", o.Entrypoint != ""}, {"--workdir", o.WorkDir != ""}, {"--network-alias", len(o.Aliases) > 0},
		{"--cpus", service && o.CPUMilli > 0}, {"--memory", service && o.Memory > 0}, {"--pids-limit", service && o.PIDs > 0},
		{"--no-healthcheck", service && o.NoHealth},
	} {
		if u.used {
			return fmt.Errorf("the container option %s is not supported here", u.name)
		}
	}
	return nil
}

// option is one flag that is understood.
type option struct {
	flag bool // takes no value
	set  func(o *Options, value string) error
}

func duration(at func(*Options) *time.Duration) option {
	return option{set: func(o *Options, v string) error {
		d, err := time.ParseDuration(v)
		if err != nil || d < 0 {
			return fmt.Errorf("`%s` is not a duration, such as 10s", v)
		}
		*at(o) = d
		return nil
	}}
}

func text(at func(*Options) *string) option {
	return option{set: func(o *Options, v string) error { *at(o) = v; return nil }}
}

func whole(at func(*Options, int64)) option {
	return option{set: func(o *Options, v string) error {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n < 0 {
			return fmt.Errorf("`%s` is not a whole number", v)
		}
		at(o, n)
		return nil
	}}
}

func ignored(flag bool) option {
	return option{flag: flag, set: func(*Options, string) error { return nil }}
}

// options returns the table of flags, long and short.
func options() map[string]option {
	env := option{set: func(o *Options, v string) error {
		if !strings.Contains(v, "=") {
			return errors.New("give a value, as NAME=VALUE: a job has no other environment to take it from")
		}
		o.Env = append(o.Env, v)
		return nil
	}}
	user := text(func(o *Options) *string { return &o.User })
	workdir := text(func(o *Options) *string { return &o.WorkDir })
	memory := option{set: func(o *Options, v string) (err error) { o.Memory, err = quantity.Bytes(v); return err }}
	return map[string]option{
		"--health-cmd":            text(func(o *Options) *string { return &o.Health.Command }),
		"--health-interval":       duration(func(o *Options) *time.Duration { return &o.Health.Interval }),
		"--health-timeout":        duration(func(o *Options) *time.Duration { return &o.Health.Timeout }),
		"--health-start-period":   duration(func(o *Options) *time.Duration { return &o.Health.StartPeriod }),
		"--health-start-interval": duration(func(o *Options) *time.Duration { return &o.Health.StartInterval }),
		"--health-retries":        whole(func(o *Options, n int64) { o.Health.Retries = int(n) }),
		"--no-healthcheck":        {flag: true, set: func(o *Options, _ string) error { o.NoHealth = true; return nil }},
		"--user":                  user, "-u": user,
		"--env": env, "-e": env,
		"--workdir": workdir, "-w": workdir,
		"--memory": memory, "-m": memory,
		"--hostname": text(func(o *Options) *string { return &o.Hostname }), "-h": text(func(o *Options) *string { return &o.Hostname }),
		"--entrypoint":    text(func(o *Options) *string { return &o.Entrypoint }),
		"--cpus":          {set: func(o *Options, v string) (err error) { o.CPUMilli, err = quantity.CPU(v); return err }},
		"--pids-limit":    whole(func(o *Options, n int64) { o.PIDs = n }),
		"--network-alias": {set: func(o *Options, v string) error { o.Aliases = append(o.Aliases, v); return nil }},
		// Without an effect on what a job can see: the supervisor reaps, and names and labels are ours.
		"--init": ignored(true), "--rm": ignored(true), "--name": ignored(false), "--label": ignored(false), "-l": ignored(false),
	}
}

// refused are flags of docker that would undo the sandbox or need what it has not.
var refused = strings.Fields(`--privileged --network --net --volume -v --mount --device --cap-add --cap-drop --security-opt
	--pid --ipc --uts --userns --cgroupns --gpus --runtime --add-host --dns --publish -p --tmpfs --ulimit --shm-size
	--sysctl --restart --link --volumes-from --group-add --read-only --log-driver --log-opt --platform --pull --cpuset-cpus
	--memory-swap --cpu-shares --oom-kill-disable --stop-signal --expose`)

// Parse reads the text of `options`.
func Parse(s string) (Options, error) {
	var o Options
	words, err := Words(s)
	if err != nil {
		return o, err
	}
	table := options()
	for i := 0; i < len(words); i++ {
		name, value, inline := strings.Cut(words[i], "=")
		if !strings.HasPrefix(name, "-") {
			return o, fmt.Errorf("`%s` is no option; a value with spaces must be quoted", words[i])
		}
		opt, ok := table[name]
		if !ok {
			return o, unknown(name, table)
		}
		if !opt.flag && !inline {
			if i++; i == len(words) {
				return o, fmt.Errorf("%s needs a value", name)
			}
			value = words[i]
		}
		if err := opt.set(&o, value); err != nil {
			return o, fmt.Errorf("%s: %w", name, err)
		}
	}
	return o, nil
}

func unknown(name string, table map[string]option) error {
	for _, r := range refused {
		if r == name {
			return fmt.Errorf("the container option %s is not supported", name)
		}
	}
	names := make([]string, 0, len(table))
	for n := range table {
		names = append(names, n)
	}
	if near := diag.Nearest(name, names); near != "" && len(name) > 2 {
		return fmt.Errorf("unknown container option %s; did you mean %s?", name, near)
	}
	return fmt.Errorf("unknown container option %s", name)
}

// Words splits as a shell does: space separates; quotes and backslashes keep things together.
func Words(s string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord, quote := false, rune(0)
	escaped := false
	for _, r := range s {
		switch {
		case escaped:
			if quote == '"' && r != '"' && r != '\\' && r != '$' && r != '`' {
				word.WriteByte('\\')
			}
			word.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, inWord = r, true
		case r == ' ' || r == '\t' || r == '\n' || r == '\r':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		default:
			word.WriteRune(r)
			inWord = true
		}
	}
	if quote != 0 || escaped {
		return nil, errors.New("a quote or backslash is left open")
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// Port publishes a container's port. Host 0: any free port.
type Port struct {
	Host, Container int
	UDP             bool
}

// ParsePort reads one item of `ports`: "5432", "5432:5432", "8080:80/tcp".
func ParsePort(s string) (Port, error) {
	numbers, protocol, _ := strings.Cut(strings.TrimSpace(s), "/")
	bad := fmt.Errorf("`%s` is not a port: give PORT, HOST:PORT or HOST:PORT/udp", s)
	if protocol != "" && protocol != "tcp" && protocol != "udp" {
		return Port{}, bad
	}
	parts := strings.Split(numbers, ":")
	if len(parts) == 3 {
		if parts[0] != "127.0.0.1" && parts[0] != "0.0.0.0" {
			return Port{}, fmt.Errorf("`%s`: a service is published at localhost, and nowhere else", s)
		}
		parts = parts[1:]
	}
	p := Port{UDP: protocol == "udp"}
	var err error
	if p.Container, err = port(parts[len(parts)-1]); err != nil || p.Container == 0 || len(parts) > 2 {
		return Port{}, bad
	}
	if len(parts) == 2 && parts[0] != "" {
		if p.Host, err = port(parts[0]); err != nil {
			return Port{}, bad
		}
	}
	return p, nil
}

func port(s string) (int, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	return int(n), err
}
