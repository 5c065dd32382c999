// Package architecture holds the house rules that a compiler can't: who may import whom.
package architecture

import (
	"bytes"
	"encoding/json"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/slipway-ci/slipway/"

type goPackage struct {
	ImportPath  string
	Imports     []string
	Deps        []string
	TestImports []string
}

// A rule says that packages under From must not depend, directly or through others, on packages under Forbidden.
type rule struct {
	name      string
	from      []string
	except    []string
	forbidden []string
	why       string
}

const (
	grpcLib       = "google.golang.org/grpc"
	etcdLib       = "go.etcd.io/etcd"
	containerdLib = "github.com/containerd/"
	goPluginLib   = "github.com/hashicorp/go-plugin"
	sqliteLib     = "modernc.org/sqlite"
)

var rules = []rule{
	{"pipeline is pure", []string{"pipeline"}, nil,
		[]string{grpcLib, etcdLib, containerdLib, module + "coordinator", module + "agent", module + "sdk", module + "internal", "net/http", "os/exec"},
		"the language is bytes in, plan and diagnostics out"},
	{"lifecycle and schedule are pure", []string{"coordinator/lifecycle", "coordinator/schedule"}, nil,
		[]string{grpcLib, etcdLib, "net", "os/exec"},
		"decisions are functions of their arguments"},
	{"coordinator does not know the agent", []string{"coordinator"}, nil, []string{module + "agent", module + "cmd", module + "e2e"},
		"they meet in proto/gen and pipeline only"},
	{"agent does not know the coordinator", []string{"agent"}, nil, []string{module + "coordinator", module + "cmd", module + "e2e"},
		"they meet in proto/gen and pipeline only"},
	{"the SDK is light", []string{"sdk"}, nil, []string{etcdLib, containerdLib, module + "coordinator", module + "agent"},
		"a third-party plugin must inherit neither etcd nor containerd"},
	{"containerd only in its sandbox", []string{"coordinator", "pipeline", "sdk", "agent"}, []string{"agent/sandbox/containerd", "agent/sandbox/sandboxtest"}, []string{containerdLib},
		"every other part sees sandbox.Sandbox"},
	{"etcd only in its store, the elector and the wiring", []string{"coordinator", "agent", "pipeline", "sdk"},
		[]string{"coordinator/store/etcdstore", "coordinator/leader/etcdleader", "coordinator/server"}, []string{etcdLib},
		"every other part sees store.Store"},
	{"the format of finished runs is pure", []string{"coordinator/seal"}, nil, []string{grpcLib, etcdLib, sqliteLib, "net", "os/exec"},
		"bytes in, bundle out: what is sealed must be readable by anything, for ever"},
	{"the agent and the SDK know no database of the coordinator's", []string{"agent", "pipeline", "sdk"}, nil, []string{sqliteLib, etcdLib},
		"the index of finished runs is coordinator/history's"},
	{"go-plugin only at the plugin edge", []string{"coordinator", "agent", "pipeline", "sdk"}, []string{"sdk/plugin", "sdk/plugintest", "agent/plugins"}, []string{goPluginLib},
		"the protocol is ours, the transport is a detail"},
	{"the supervisor is small", []string{"cmd/slipway-supervisor"}, nil, []string{grpcLib, etcdLib, containerdLib, "net/http", "google.golang.org/protobuf"},
		"it is PID 1 of every job and shares a trust domain with steps"},
}

func TestImportDirections(t *testing.T) {
	packages := list(t)
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			matched := 0
			for _, p := range packages {
				rel := strings.TrimPrefix(p.ImportPath, module)
				if !under(rel, r.from) || under(rel, r.except) {
					continue
				}
				matched++
				for _, dep := range p.Deps {
					if bad := forbiddenBy(dep, r.forbidden); bad != "" {
						t.Errorf("%s depends on %s (rule: not %s): %s", rel, dep, bad, r.why)
					}
				}
			}
			if matched == 0 && !strings.Contains(r.name, "SDK") {
				t.Errorf("the rule matches no package: is it still about this house?")
			}
		})
	}
}

func forbiddenBy(dep string, forbidden []string) string {
	for _, f := range forbidden {
		if dep == f || strings.HasPrefix(dep, strings.TrimSuffix(f, "/")+"/") {
			return f
		}
	}
	return ""
}

func under(rel string, roots []string) bool {
	for _, root := range roots {
		if rel == root || strings.HasPrefix(rel, root+"/") {
			return true
		}
	}
	return false
}

func list(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps=false", "-json=ImportPath,Imports,Deps", module+"...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var packages []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); err == io.EOF {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}
