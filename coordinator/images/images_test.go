package images_test

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/images"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/pipeline/compile"
	"github.com/slipway-ci/slipway/pipeline/expr"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// hub is a registry that counts the questions it is asked.
type hub struct {
	host  string
	heads atomic.Int64
	hold  chan struct{} // if set, questions wait for it
	user  string        // if set, basic auth user:pass is demanded
}

func newHub(t *testing.T) *hub {
	t.Helper()
	h := &hub{}
	inner := registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); h.user != "" && u+":"+p != h.user {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			http.Error(w, `{"errors":[{"code":"UNAUTHORIZED"}]}`, http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodHead && strings.Contains(r.URL.Path, "/manifests/") {
			h.heads.Add(1)
			if h.hold != nil {
				<-h.hold
			}
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	h.host = strings.TrimPrefix(srv.URL, "http://")
	return h
}

// push stores a random image and returns its digest.
func (h *hub) push(t *testing.T, repoTag string) string {
	t.Helper()
	img, err := random.Image(10, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(h.host+"/"+repoTag, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	d, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	h.heads.Store(0)
	return d.String()
}

func resolver(t *testing.T, regs map[string]config.Registry) (*images.Resolver, *clock.Fake) {
	t.Helper()
	c := clock.NewFake(time.Unix(1_700_000_000, 0))
	r, err := images.New(regs, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r, c
}

func (h *hub) asDockerHub() map[string]config.Registry {
	return map[string]config.Registry{"docker.io": {Mirror: h.host, PlainHTTP: true}}
}

func TestNamesAreMappedAndPinned(t *testing.T) {
	h := newHub(t)
	official, own := h.push(t, "library/postgres:15-alpine"), h.push(t, "slipway/runner:12")
	r, _ := resolver(t, h.asDockerHub())
	for image, want := range map[string]string{
		"postgres:15-alpine":                   h.host + "/library/postgres@" + official,
		"docker.io/library/postgres:15-alpine": h.host + "/library/postgres@" + official,
		"slipway/runner:12":                    h.host + "/slipway/runner@" + own,
		"postgres@" + official:                 h.host + "/library/postgres@" + official,
		h.host + "/slipway/runner:12":          h.host + "/slipway/runner@" + own,
	} {
		if got, err := r.Resolve(t.Context(), image); err != nil || got != want {
			t.Errorf("%s = %s, %v; want %s", image, got, err, want)
		}
	}
}

func TestUnavailableImagesSayWhereAndWhyAndWhatToDo(t *testing.T) {
	h := newHub(t)
	h.push(t, "library/postgres:15")
	down := httptest.NewServer(nil)
	downHost := strings.TrimPrefix(down.URL, "http://")
	down.Close()
	regs := h.asDockerHub()
	regs["down.test"] = config.Registry{Mirror: downHost, PlainHTTP: true}
	r, _ := resolver(t, regs)
	for image, want := range map[string][]string{
		"postgres:99":           {`"postgres:99"`, h.host + "/library/postgres:99", "the mirror of docker.io", "no such image", "push it there"},
		"down.test/app:1":       {"down.test/app:1", downHost + "/app:1", "can't be reached", "connection refused", "registries: down.test"},
		"Not An Image":          {"not an image's name", "repository[:tag]"},
		"169.254.169.254/app:1": {"link-local"},
		"":                      {"not an image's name"},
	} {
		_, err := r.Resolve(t.Context(), image)
		if rpcerr.ReasonOf(err) != rpcerr.ImageUnavailable {
			t.Errorf("%s: %v", image, err)
			continue
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q is not in %v", image, w, err)
			}
		}
	}
}

func TestOneQuestionForManyAndAShortMemory(t *testing.T) {
	h := newHub(t)
	first := h.push(t, "library/node:20")
	r, c := resolver(t, h.asDockerHub())
	h.hold = make(chan struct{})
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := r.Resolve(t.Context(), "node:20"); err != nil {
				t.Error(err)
			}
		})
	}
	close(h.hold)
	wg.Wait()
	if n := h.heads.Load(); n != 1 {
		t.Errorf("%d questions, want 1", n)
	}
	second := h.push(t, "library/node:20")
	if got, err := r.Resolve(t.Context(), "node:20"); err != nil || !strings.HasSuffix(got, first) {
		t.Errorf("within its memory: %s, %v", got, err)
	}
	c.Advance(10 * time.Second)
	if got, err := r.Resolve(t.Context(), "node:20"); err != nil || !strings.HasSuffix(got, second) {
		t.Errorf("after it: %s, %v; want the tag that was pushed since", got, err)
	}
	if _, err := r.Resolve(t.Context(), "node:21"); err == nil {
		t.Error("node:21 is there")
	}
	late := h.push(t, "library/node:21")
	if got, err := r.Resolve(t.Context(), "node:21"); err != nil || !strings.HasSuffix(got, late) {
		t.Errorf("a failure was remembered: %v", err)
	}
}

func TestCredentialsOfADockerConfig(t *testing.T) {
	h := newHub(t)
	h.push(t, "library/private:1")
	h.user = "ann:secret"
	r, _ := resolver(t, h.asDockerHub())
	if _, err := r.Resolve(t.Context(), "private:1"); err == nil || !strings.Contains(err.Error(), "docker_config") {
		t.Fatalf("without credentials: %v", err)
	}
	path := filepath.Join(t.TempDir(), "config.json")
	conf := fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, h.host, base64.StdEncoding.EncodeToString([]byte(h.user)))
	if err := os.WriteFile(path, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	regs := map[string]config.Registry{"docker.io": {Mirror: h.host, PlainHTTP: true, DockerConfig: path}}
	r, _ = resolver(t, regs)
	if _, err := r.Resolve(t.Context(), "private:1"); err != nil {
		t.Fatal(err)
	}
	regs["docker.io"] = config.Registry{DockerConfig: filepath.Join(t.TempDir(), "absent")}
	if _, err := images.New(regs, clock.Real{}); err == nil {
		t.Fatal("a missing docker_config was accepted")
	}
}

// TestCredentialsOfAContainer: of a job, of a service and in a called workflow, from secrets. Nobody else is answered for them.
func TestCredentialsOfAContainer(t *testing.T) {
	h := newHub(t)
	for _, image := range []string{"library/one:1", "library/two:1", "library/three:1"} {
		h.push(t, image)
	}
	h.user = "ann:planted"
	r, _ := resolver(t, h.asDockerHub())
	planner := images.NewPlanner(r, map[string]config.Runner{"x": {Image: config.NoImage, Pool: "p"}})
	const credentials = "credentials: {username: '${{ vars.USER || secrets.USER }}', password: '${{ secrets.%s }}'}"
	file := "on: push\njobs:\n  a:\n    runs-on: x\n    container: {image: 'one:1', " + fmt.Sprintf(credentials, "pass") + "}\n" +
		"    services: {s: {image: 'two:1', " + fmt.Sprintf(credentials, "PASS") + "}}\n    steps: [{run: x}]\n" +
		"  b: {uses: ./.github/workflows/b.yml, secrets: {user: ann, inner: '${{ secrets.PASS }}'}}\n"
	called := "on: {workflow_call: {secrets: {user: , inner: }}}\njobs:\n  c: {runs-on: x, container: {image: 'three:1', " + fmt.Sprintf(credentials, "inner") + "}, steps: [{run: x}]}\n"
	make := func() *planv1.Plan {
		p, found := compile.Compile(".github/workflows/ci.yml", []byte(file), compile.Options{Read: func(string) ([]byte, error) { return []byte(called), nil }})
		if p == nil || found.HasErrors() {
			t.Fatal(found)
		}
		return p
	}
	if names, all := images.SecretNames(make()); all || fmt.Sprint(names) != "[INNER PASS USER]" {
		t.Errorf("secrets %v, %v", names, all)
	}
	fill := func(pass string) (*planv1.Plan, error) {
		p := make()
		contexts := expr.NewObject(expr.Pair{Key: "vars", Value: expr.NewObject().Value()}, expr.Pair{Key: "secrets", Value: expr.NewObject(expr.Pair{Key: "USER", Value: expr.String("ann")}, expr.Pair{Key: "PASS", Value: expr.String(pass)}).Value()})
		found, err := planner.Fill(t.Context(), p, contexts)
		if len(found) > 0 {
			t.Error(found)
		}
		return p, err
	}
	p, err := fill("planted")
	if err != nil || len(p.GetImages()) != 3 {
		t.Errorf("%v, %v", p.GetImages(), err)
	}
	if strings.Contains(p.String(), "planted") {
		t.Error("the plan holds the password")
	}
	// Though they were just resolved for somebody who may.
	for _, pass := range []string{"wrong", ""} {
		if _, err := fill(pass); rpcerr.ReasonOf(err) != rpcerr.ImageUnavailable || !strings.Contains(err.Error(), "credentials") {
			t.Errorf("password %q: %v, want IMAGE_UNAVAILABLE", pass, err)
		}
	}
	bundled := plan(t, "on: push\njobs:\n  a: {runs-on: x, container: {image: 'one:1', credentials: {username: u, password: '${{ fromJSON(secrets.PASS).p }}'}}, steps: [{run: x}]}\n")
	secret := expr.NewObject(expr.Pair{Key: "secrets", Value: expr.NewObject(expr.Pair{Key: "PASS", Value: expr.String("planted")}).Value()})
	if found, err := planner.Fill(t.Context(), bundled, secret); err != nil || !found.HasErrors() || found[0].Line != 3 || strings.Contains(found.String(), "planted") {
		t.Errorf("a secret that is not JSON: %v, %v", found, err)
	}
	dynamic := plan(t, "on: push\njobs:\n  a: {runs-on: x, steps: [{run: x}]}\n  b:\n    needs: a\n    runs-on: x\n    container: {image: 'one:1', credentials: {username: u, password: '${{ needs.a.outputs.p }}'}}\n    steps: [{run: x}]\n")
	if found, err := planner.Fill(t.Context(), dynamic, expr.NewObject()); err != nil || len(found) != 1 || found[0].Code != "dynamic-image" {
		t.Errorf("credentials from another job: %v, %v", found, err)
	}
}

const workflow = `on: push
jobs:
  plain:
    runs-on: ubuntu-latest
    steps: [{run: "true"}]
  matrix:
    strategy: {matrix: {node: [18, 20], os: [ubuntu-latest, debian]}}
    runs-on: ${{ matrix.os }}
    container: node:${{ matrix.node }}
    services:
      db: {image: "postgres:15"}
    steps: [{run: "true"}]
`

func plan(t *testing.T, src string) *planv1.Plan {
	t.Helper()
	p, found := compile.Compile(".github/workflows/ci.yml", []byte(src), compile.Options{})
	if p == nil {
		t.Fatalf("%s", found)
	}
	return p
}

func TestFillPinsWhatAPlanUses(t *testing.T) {
	h := newHub(t)
	want := map[string]string{}
	for key, image := range map[string]string{"node:18": "library/node:18", "node:20": "library/node:20", "postgres:15": "library/postgres:15", "slipway/runner:12": "slipway/runner:12"} {
		repo, _, _ := strings.Cut(image, ":")
		want[key] = h.host + "/" + repo + "@" + h.push(t, image)
	}
	want["ubuntu-latest"] = want["slipway/runner:12"]
	r, _ := resolver(t, h.asDockerHub())
	runners := map[string]config.Runner{"ubuntu-latest": {Image: "slipway/runner:12", Pool: "default"}, "debian": {Image: "absent:1", Pool: "default"}}
	p := plan(t, workflow)
	found, err := images.NewPlanner(r, runners).Fill(t.Context(), p, expr.NewObject())
	if err != nil || len(found) > 0 {
		t.Fatal(found, err)
	}
	if len(p.GetImages()) != len(want) {
		t.Errorf("images %v", p.GetImages())
	}
	for key, pinned := range want {
		if p.GetImages()[key] != pinned {
			t.Errorf("%s = %s, want %s", key, p.GetImages()[key], pinned)
		}
	}
}

func TestARunnerWithoutContainersNeedsNoRegistry(t *testing.T) {
	r, _ := resolver(t, map[string]config.Registry{"docker.io": {Mirror: "127.0.0.1:1", PlainHTTP: true}})
	planner := images.NewPlanner(r, map[string]config.Runner{"host": {Image: config.NoImage, Pool: "host"}})
	p := plan(t, "on: push\njobs:\n  a: {runs-on: host, steps: [{run: x}]}\n")
	if found, err := planner.Fill(t.Context(), p, expr.NewObject()); err != nil || found.HasErrors() || p.GetImages()["host"] != config.NoImage {
		t.Errorf("%v, %v, %v", p.GetImages(), found, err)
	}
	p = plan(t, "on: push\njobs:\n  a: {runs-on: host, container: scratch, steps: [{run: x}]}\n")
	if _, err := planner.Fill(t.Context(), p, expr.NewObject()); rpcerr.ReasonOf(err) != rpcerr.ImageUnavailable {
		t.Errorf("a workflow's own empty image: %v", err)
	}
}

func TestFillRefusesWithAPlace(t *testing.T) {
	h := newHub(t)
	r, _ := resolver(t, h.asDockerHub())
	planner := images.NewPlanner(r, map[string]config.Runner{"ubuntu-latest": {Image: "slipway/runner:12", Pool: "default"}})
	job := "on: push\njobs:\n  a: {runs-on: ubuntu-latest, steps: [{run: x}]}\n  b:\n    needs: a\n"
	_, err := planner.Fill(t.Context(), plan(t, job+"    runs-on: ubuntu-latest\n    container: gone:1\n    steps: [{run: x}]\n"), expr.NewObject())
	if rpcerr.ReasonOf(err) != rpcerr.ImageUnavailable || !strings.Contains(err.Error(), "ci.yml:3:") {
		t.Errorf("of two missing images the first in the file: %v", err)
	}
	for src, want := range map[string]string{
		"    runs-on: windows-latest\n":                                                                                   "no runner for `runs-on: windows-latest`",
		"    runs-on: ubuntu-latest\n    container: ${{ needs.a.outputs.image }}\n":                                       "another job's output",
		"    runs-on: ubuntu-latest\n    container: ${{ fromJSON(github.event_name) }}\n":                                 "image:",
		"    runs-on: x\n    container: ${{ matrix.os }}\n    strategy: {matrix: '${{ fromJSON(needs.a.outputs.m) }}'}\n": "a matrix that another job's output makes",
	} {
		found, err := planner.Fill(t.Context(), plan(t, job+src+"    steps: [{run: x}]\n"), expr.NewObject())
		if err != nil || !found.HasErrors() || !strings.Contains(found.String(), want) || found[0].Line < 5 {
			t.Errorf("%q: %v %v", src, found, err)
		}
	}
}

// TestALabelThatAnotherJobComputes: what every label means is pinned, as far as it is there.
func TestALabelThatAnotherJobComputes(t *testing.T) {
	h := newHub(t)
	h.push(t, "slipway/runner:12")
	r, _ := resolver(t, h.asDockerHub())
	planner := images.NewPlanner(r, map[string]config.Runner{"ubuntu-latest": {Image: "slipway/runner:12"}, "broken": {Image: "gone:1"}})
	for _, late := range []string{"    runs-on: ${{ needs.a.outputs.os }}\n", "    runs-on: ${{ matrix.os }}\n    strategy: {matrix: {os: '${{ fromJSON(needs.a.outputs.m) }}'}}\n"} {
		p := plan(t, "on: push\njobs:\n  a: {runs-on: ubuntu-latest, steps: [{run: x}]}\n  b:\n    needs: a\n"+late+"    steps: [{run: x}]\n")
		found, err := planner.Fill(t.Context(), p, expr.NewObject())
		if err != nil || len(found) > 0 || p.GetImages()["ubuntu-latest"] == "" || p.GetImages()["broken"] != "" {
			t.Errorf("%s: %v %v %v", late, found, err, p.GetImages())
		}
	}
	// A label that the file itself names must be there all the same.
	p := plan(t, "on: push\njobs:\n  a: {runs-on: broken, steps: [{run: x}]}\n  b: {needs: a, runs-on: '${{ needs.a.outputs.os }}', steps: [{run: x}]}\n")
	if _, err := planner.Fill(t.Context(), p, expr.NewObject()); rpcerr.ReasonOf(err) != rpcerr.ImageUnavailable {
		t.Error(err)
	}
}

func TestImagesOfCalledWorkflows(t *testing.T) {
	h := newHub(t)
	for _, image := range []string{"slipway/runner:12", "library/node:20", "library/node:22", "library/node:18"} {
		h.push(t, image)
	}
	r, _ := resolver(t, h.asDockerHub())
	planner := images.NewPlanner(r, map[string]config.Runner{"x": {Image: "slipway/runner:12"}})
	compiled := func(call string) *planv1.Plan {
		p, found := compile.Compile(".github/workflows/ci.yml", []byte("on: push\njobs:\n  a: {runs-on: x, steps: [{run: x}]}\n  c:\n    needs: a\n    uses: ./.github/workflows/c.yml\n"+call), compile.Options{
			Read: func(string) ([]byte, error) {
				return []byte("on: {workflow_call: {inputs: {node: {type: string, default: '18'}}}}\njobs: {j: {runs-on: x, container: 'node:${{ inputs.node }}', steps: [{run: x}]}}\n"), nil
			}})
		if p == nil {
			t.Fatal(found)
		}
		return p
	}
	for call, want := range map[string][]string{
		"": {"node:18"},
		"    strategy: {matrix: {v: [20, 22]}}\n    with: {node: '${{ matrix.v }}'}\n": {"node:20", "node:22"},
	} {
		p := compiled(call)
		found, err := planner.Fill(t.Context(), p, expr.NewObject())
		if err != nil || len(found) > 0 || p.GetImages()["x"] == "" {
			t.Errorf("%s: %v %v %v", call, found, err, p.GetImages())
		}
		for _, image := range want {
			if p.GetImages()[image] == "" {
				t.Errorf("%s: no %s", call, image)
			}
		}
	}
	for _, call := range []string{"    with: {node: '${{ needs.a.outputs.v }}'}\n", "    strategy: {matrix: {v: '${{ fromJSON(needs.a.outputs.v) }}'}}\n    with: {node: '${{ matrix.v }}'}\n"} {
		found, err := planner.Fill(t.Context(), compiled(call), expr.NewObject())
		if err != nil || !strings.Contains(found.String(), "(dynamic-image)") || found[0].Path != ".github/workflows/c.yml" {
			t.Errorf("%s: %v %v", call, found, err)
		}
	}
}

// TestFilesThatCallForVeryManyJobsAreRefusedEarly: 20 calls of 200 legs, each of 100 jobs of 200 legs, would be 80 million jobs.
func TestFilesThatCallForVeryManyJobsAreRefusedEarly(t *testing.T) {
	asked := 0
	h := newHub(t)
	h.push(t, "slipway/runner:12")
	r, _ := resolver(t, h.asDockerHub())
	planner := images.NewPlanner(r, map[string]config.Runner{"x": {Image: "slipway/runner:12"}})
	legs := "strategy: {matrix: {v: [" + strings.TrimSuffix(strings.Repeat("1,", 200), ",") + "]}}"
	var callers, called strings.Builder
	for i := range 20 {
		fmt.Fprintf(&callers, "  c%d:\n    uses: ./.github/workflows/c.yml\n    %s\n", i, legs)
	}
	for i := range 100 {
		fmt.Fprintf(&called, "  j%d:\n    runs-on: ${{ matrix.v && 'x' }}\n    %s\n    steps: [{run: x}]\n", i, legs)
	}
	p, found := compile.Compile(".github/workflows/ci.yml", []byte("on: push\njobs:\n"+callers.String()), compile.Options{
		Read: func(string) ([]byte, error) {
			asked++
			return []byte("on: {workflow_call: {}}\njobs:\n" + called.String()), nil
		},
	})
	if p == nil || asked == 0 {
		t.Fatal(found)
	}
	found, err := planner.Fill(t.Context(), p, expr.NewObject())
	if err != nil || len(found) == 0 || len(found) > 2 || found[0].Code != "too-many-jobs" {
		t.Errorf("%v %v", found, err)
	}
}
