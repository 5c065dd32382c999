package podspec

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/workspace"
	"github.com/slipway-ci/slipway/pipeline/expr"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func lit(s string) *planv1.Value { return &planv1.Value{Kind: &planv1.Value_Literal{Literal: s}} }

func assignment(services ...*planv1.Service) *fleetv1.Assignment {
	return &fleetv1.Assignment{
		AttemptId: "a", RunId: "r", JobId: "j", Image: "i@sha256:1", Images: map[string]string{"postgres:15-alpine": "pg@sha256:2"},
		Job: &planv1.Job{Id: "j", Services: services, Resources: &planv1.Resources{CpuMilli: 500}},
	}
}

func postgres(c *planv1.Container) *planv1.Service {
	if c.Image == nil {
		c.Image = lit("postgres:15-alpine")
	}
	return &planv1.Service{Name: "db", Container: c}
}

// TestThePoolsPolicyShapesThePod: it comes from the coordinator, and Set up job shows it.
func TestThePoolsPolicyShapesThePod(t *testing.T) {
	a := assignment()
	if got, err := Build(a, workspace.Dirs{}, &expr.Env{}); err != nil || got.Isolation != "" || got.Runtime != "" || len(Describe(got)) != 1 {
		t.Errorf("without one: %+v, %v", got, err)
	}
	a.Policy = &fleetv1.PoolPolicy{Isolation: "untrusted", Runtime: "crun"}
	got, err := Build(a, workspace.Dirs{}, &expr.Env{})
	if err != nil || got.Isolation != sandbox.IsolationUntrusted || got.Runtime != "crun" {
		t.Errorf("%+v, %v", got, err)
	}
	if text := strings.Join(Describe(got), "\n"); !strings.Contains(text, "Isolation: untrusted\nRuntime: crun") {
		t.Errorf("description %q", text)
	}
}

func TestBuild(t *testing.T) {
	a := assignment(postgres(&planv1.Container{
		Env:     []*planv1.Entry{{Name: "POSTGRES_PASSWORD", Value: lit("test")}},
		Ports:   []*planv1.Value{lit("5432:5432"), lit("9000")},
		Options: lit(`--health-cmd "pg_isready -U postgres" --health-interval 10s --health-timeout 5s --health-retries 5`),
	}))
	a.Job.Container = &planv1.Container{Options: lit("--user 1000 --memory 1g"), Env: []*planv1.Entry{{Name: "A", Value: lit("b")}}}
	got, err := Build(a, workspace.Dirs{Workspace: "/w"}, &expr.Env{})
	if err != nil {
		t.Fatal(err)
	}
	want := []sandbox.Service{{
		Name: "db", Image: "pg@sha256:2", Env: []string{"POSTGRES_PASSWORD=test"}, Ports: []sandbox.Port{{Host: 5432, Container: 5432}, {Container: 9000}},
		Health: &sandbox.Health{Command: []string{"pg_isready -U postgres"}, Interval: 10 * time.Second, Timeout: 5 * time.Second, Retries: 5},
	}}
	if !reflect.DeepEqual(got.Services, want) {
		t.Errorf("services %+v", got.Services)
	}
	if got.Image != "i@sha256:1" || !got.Egress || got.User != "1000" || got.Resources != (sandbox.Resources{CPUMilli: 500, Memory: 1 << 30}) || got.Env[0] != "A=b" || got.Labels["job"] != "j" {
		t.Errorf("pod %+v", got)
	}
	if v := expr.ToJSON(Context(got)); !strings.Contains(v, `"5432":"5432"`) || !strings.Contains(v, `"9000":"9000"`) {
		t.Errorf("context %s", v)
	}
	if lines := Describe(got); len(lines) != 2 || !strings.Contains(lines[1], "port 5432, 9000") {
		t.Errorf("description %q", lines)
	}
}

// TestVolumes: a name is the same volume in all containers, one without a name is each container's own, and the pool's policy names what of the host.
func TestVolumes(t *testing.T) {
	a := assignment(postgres(&planv1.Container{Volumes: []*planv1.Value{lit("shared:/s:ro"), lit("/own")}}))
	a.Job.Container = &planv1.Container{Volumes: []*planv1.Value{lit("shared:/t"), lit("/own"), lit("/srv/cache:/c:ro")}}
	a.Policy = &fleetv1.PoolPolicy{HostPaths: []string{"/srv/cache"}}
	got, err := Build(a, workspace.Dirs{}, &expr.Env{})
	if err != nil {
		t.Fatal(err)
	}
	want := []sandbox.Mount{{Volume: "shared", Target: "/t"}, {Volume: "_0", Target: "/own"}, {Source: "/srv/cache", Target: "/c", ReadOnly: true, Host: true}}
	if mounts := got.Mounts[len(got.Mounts)-3:]; !reflect.DeepEqual(mounts, want) {
		t.Errorf("the job's %+v", mounts)
	}
	want = []sandbox.Mount{{Volume: "shared", Target: "/s", ReadOnly: true}, {Volume: "_1", Target: "/own"}}
	if mounts := got.Services[0].Mounts; !reflect.DeepEqual(mounts, want) {
		t.Errorf("the service's %+v", mounts)
	}
	for _, near := range []string{"/srv", "/srv/cache/x", "/srv/cache2"} {
		a.Job.Container.Volumes = []*planv1.Value{lit(near + ":/c")}
		if _, err := Build(a, workspace.Dirs{}, &expr.Env{}); err == nil || !strings.Contains(err.Error(), "host_paths") {
			t.Errorf("%s: %v", near, err)
		}
	}
}

// TestStepImages: each once, by digest; one that is empty is the job's.
func TestStepImages(t *testing.T) {
	a := assignment()
	step := func(image string) *planv1.Step { return &planv1.Step{Image: lit(image)} }
	a.Job.Steps = []*planv1.Step{step("postgres:15-alpine"), {}, step(""), step("postgres:15-alpine")}
	got, err := Build(a, workspace.Dirs{}, &expr.Env{})
	if err != nil || !reflect.DeepEqual(got.StepImages, []string{"pg@sha256:2"}) || !strings.Contains(strings.Join(Describe(got), "\n"), "Image of single steps: pg@sha256:2") {
		t.Errorf("%+v, %v", got.StepImages, err)
	}
	a.Job.Steps = []*planv1.Step{step("redis:7")}
	if _, err := Build(a, workspace.Dirs{}, &expr.Env{}); err == nil || !strings.Contains(err.Error(), "step 1: image: redis:7 was not resolved") {
		t.Error(err)
	}
}

// TestSecretsOfContainersAreApart from what specifications hold.
func TestSecretsOfContainersAreApart(t *testing.T) {
	ex := func(src string) *planv1.Value { return &planv1.Value{Kind: &planv1.Value_Expr{Expr: src}} }
	env := &expr.Env{Contexts: expr.NewObject(expr.Pair{Key: "secrets", Value: expr.NewObject(expr.Pair{Key: "P", Value: expr.String("planted")}).Value()})}
	c := &planv1.Container{Env: []*planv1.Entry{{Name: "A", Value: lit("a")}, {Name: "B", Value: ex("secrets.P")}}, Username: lit("ann"), Password: ex("secrets.P")}
	spec, err := Build(assignment(postgres(c)), workspace.Dirs{}, env)
	if err != nil {
		t.Fatal(err)
	}
	svc := spec.Services[0]
	if slices.ContainsFunc(svc.Env, func(e string) bool { return strings.Contains(e, "planted") }) || !slices.Equal(svc.SecretEnv, []string{"B=planted"}) {
		t.Errorf("env %q, secret %q", svc.Env, svc.SecretEnv)
	}
	if svc.Auth == nil || *svc.Auth != (sandbox.RegistryAuth{Username: "ann", Password: "planted"}) {
		t.Errorf("auth %v", svc.Auth)
	}
	if data, err := json.Marshal(spec); err != nil || strings.Contains(string(data), "planted") {
		t.Errorf("written down as %s, %v", data, err)
	}
}

func TestBuildRefusesClearly(t *testing.T) {
	cases := map[string]struct {
		service *planv1.Container
		want    string
	}{
		"volume":      {&planv1.Container{Volumes: []*planv1.Value{lit("/a:/b")}}, "volumes: /a:/b: the policy of the agent's pool"},
		"two volumes": {&planv1.Container{Volumes: []*planv1.Value{lit("/b"), lit("x:/b")}}, "two are mounted at /b"},
		"bad volume":  {&planv1.Container{Volumes: []*planv1.Value{lit("b")}}, "not an absolute path"},
		"privileged":  {&planv1.Container{Options: lit("--privileged")}, "--privileged"},
		"udp":         {&planv1.Container{Ports: []*planv1.Value{lit("53:53/udp")}}, "UDP"},
		"image":       {&planv1.Container{Image: lit("redis:7")}, "redis:7 was not resolved"},
		"entrypoint":  {&planv1.Container{Options: lit("--entrypoint sh")}, "--entrypoint"},
		"health off":  {&planv1.Container{Options: lit("--no-healthcheck")}, "--no-healthcheck"},
	}
	for name, c := range cases {
		if _, err := Build(assignment(postgres(c.service)), workspace.Dirs{}, &expr.Env{}); err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "services.db") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Build(assignment(postgres(&planv1.Container{Image: lit("")})), workspace.Dirs{}, &expr.Env{}); err != nil {
		t.Errorf("a service without an image is skipped: %v", err)
	}
}
