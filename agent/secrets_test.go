package agent_test

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func secretsOf(revision uint64, pairs ...string) *fleetv1.GetSecretsResponse {
	r := &fleetv1.GetSecretsResponse{Revision: revision}
	for i := 0; i < len(pairs); i += 2 {
		r.Secrets = append(r.Secrets, &fleetv1.SecretValue{Name: pairs[i], Value: pairs[i+1]})
	}
	return r
}

func script(src string) *planv1.Step {
	return &planv1.Step{Condition: "success()", Kind: &planv1.Step_Run{Run: &planv1.Run{Script: exp(src)}}}
}

// wantNowhere: no file of the agent's own directory holds a text.
func wantNowhere(t *testing.T, dir, text string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // files come and go
		}
		if data, err := os.ReadFile(path); err == nil && bytes.Contains(data, []byte(text)) {
			t.Errorf("%s holds the secret", path)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

// TestSecretsOfAJob: steps, job env and names see them; every line of them is hidden from the first byte; a missing one is empty.
func TestSecretsOfAJob(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	made := secretsOf(1, "PEM", "first line\nsecond line\n", "TOKEN", "planted")
	made.Masks = []string{"made from this"}
	h.c.SetSecrets(made)
	a := job("a1",
		script("format('echo {0} [{1}] $FROM_JOB; echo \"$PEM\"; echo made from this', secrets.token, secrets.not_there)"),
		script("format('echo out={0} >> $GITHUB_OUTPUT', secrets.TOKEN)"))
	a.GetJob().GetSteps()[0].Env = []*planv1.Entry{entry("PEM", exp("secrets.PEM"))}
	a.GetJob().GetSteps()[0].Name = exp("format('with {0}', secrets.TOKEN)")
	a.GetJob().GetSteps()[1].Id = "two"
	a.GetJob().Env = []*planv1.Entry{entry("FROM_JOB", exp("secrets.TOKEN"))}
	a.GetJob().Outputs = []*planv1.Entry{entry("leak", exp("steps.two.outputs.out"))}
	a.Secrets = true
	h.c.Offer(a)
	got := h.c.WaitDone("a1")
	if log := logOf(got, 1); log != "*** [] ***\n***\n***\n" {
		t.Errorf("log %q", log)
	}
	if s := step(t, got, 1); s.GetName() != "with ***" {
		t.Errorf("the step is called %q", s.GetName())
	}
	if last := got.Last(); len(last.GetOutputs()) != 0 || last.GetResult() != corev1.Result_RESULT_SUCCESS {
		t.Errorf("%s, outputs %v", last.GetResult(), last.GetOutputs())
	}
	if asked := fmt.Sprint(h.c.SecretsAsked()); asked != "[0]" {
		t.Errorf("asked for revisions %s", asked)
	}
}

// TestNoPartOfALongSecretIsShown: what is too long to be repeated whole is not cut, as the mask would not be found in a part.
func TestNoPartOfALongSecretIsShown(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	long := "begin"
	for i := range 200 {
		long += fmt.Sprintf("-%d", i)
	}
	h.c.SetSecrets(secretsOf(1, "LONG", long))
	failing := func(set func(*planv1.Step)) *planv1.Step { return sh("true", lenient, set) }
	a := job("a1",
		script("format('printf %s {0} > /dev/null', secrets.LONG)"),
		sh(`echo "$LONG" >> $GITHUB_OUTPUT`, lenient, func(s *planv1.Step) { s.Env = []*planv1.Entry{entry("LONG", exp("secrets.LONG"))} }),
		sh(`echo "::echo::$LONG"`, lenient, func(s *planv1.Step) { s.Env = []*planv1.Entry{entry("LONG", exp("secrets.LONG"))} }),
		failing(func(s *planv1.Step) { s.Env = []*planv1.Entry{entry("X", exp("fromJSON(secrets.LONG).x"))} }),
		failing(func(s *planv1.Step) { s.TimeoutMinutes = exp("secrets.LONG") }),
	)
	a.Secrets = true
	h.c.Offer(a)
	got := h.c.WaitDone("a1")
	if name := step(t, got, 1).GetName(); name != "Run printf %s *** > /dev/null" {
		t.Errorf("name %q", name)
	}
	text := got.Last().String()
	for n := range uint32(6) {
		text += logOf(got, n)
	}
	if strings.Contains(text, "begin-0-1-2") {
		t.Error(text)
	}
	for n := range uint32(4) {
		if f := step(t, got, n+2).GetFailure(); f == nil {
			t.Errorf("step %d did not fail", n+2)
		}
	}
}

// TestAJobThatNamesNoSecretAsksForNone.
func TestAJobThatNamesNoSecretAsksForNone(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.Offer(job("a1", script("format('echo [{0}]', secrets.any)")))
	if got := h.c.WaitDone("a1"); logOf(got, 1) != "[]\n" || len(h.c.SecretsAsked()) != 0 {
		t.Errorf("log %q, asked %v", logOf(got, 1), h.c.SecretsAsked())
	}
}

// TestARestartedAgentHidesWhatItHid: it asks for the very secrets that the attempt had, though others hold now.
func TestARestartedAgentHidesWhatItHid(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.SetSecrets(secretsOf(7, "A", "planted one"))
	gate := filepath.Join(h.dir, "gate")
	a := job("a1",
		script("format('echo begun {0}; while [ ! -e "+gate+" ]; do sleep 0.02; done; echo ended {0}', secrets.A)"),
		sh(`echo $FROM_JOB and plan""ted one`))
	a.GetJob().Env = []*planv1.Entry{entry("FROM_JOB", exp("secrets.A"))}
	a.Secrets = true
	h.c.Offer(a)
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a1"), 1) == "begun ***\n" })
	wantNowhere(t, filepath.Join(h.dir, "data", "state"), "planted one")
	h.down()
	h.c.SetSecrets(secretsOf(8, "A", "planted two", "B", "planted three"))
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.up()
	got := h.c.WaitDone("a1")
	if logOf(got, 1) != "begun ***\nended ***\n" || logOf(got, 2) != "*** and ***\n" {
		t.Errorf("logs %q, %q", logOf(got, 1), logOf(got, 2))
	}
	if asked := fmt.Sprint(h.c.SecretsAsked()); asked != "[0 7]" {
		t.Errorf("asked for revisions %s", asked)
	}
}

// TestWithoutItsSecretsAnAttemptSendsNothing: nobody would know what to hide.
func TestWithoutItsSecretsAnAttemptSendsNothing(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.SetSecrets(secretsOf(1, "A", "planted one"))
	gate := filepath.Join(h.dir, "gate")
	a := job("a1", script("format('echo begun {0}; while [ ! -e "+gate+" ]; do sleep 0.02; done; echo ended {0}', secrets.A)"))
	a.Secrets = true
	h.c.Offer(a)
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a1"), 1) == "begun ***\n" })
	h.down()
	h.c.SetSecrets(nil)
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.up()
	got := h.c.WaitDone("a1")
	if log := logOf(got, 1); log != "begun ***\n" {
		t.Errorf("log %q", log)
	}
	if last := got.Last(); last.GetResult() != corev1.Result_RESULT_FAILURE || !strings.Contains(last.GetFailure().GetMessage(), "can't be had again") {
		t.Errorf("%s: %v", last.GetResult(), last.GetFailure())
	}
}

// TestAHeldPodIsLetGoWithoutItsSecrets: nobody would know what a visitor must not see.
func TestAHeldPodIsLetGoWithoutItsSecrets(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.SetSecrets(secretsOf(1, "A", "planted one"))
	a := job("a1", script("format('echo {0}; exit 1', secrets.A)"))
	a.Secrets, a.HoldMs = true, time.Hour.Milliseconds()
	h.c.Offer(a)
	if got := h.c.WaitDone("a1"); got.Last().GetHeldMs() == 0 || len(h.pods()) != 1 {
		t.Fatalf("not held: %v", got.Last())
	}
	h.down()
	h.c.SetSecrets(nil)
	h.up()
	h.c.Wait("the pod is let go", func() bool {
		return strings.Contains(h.c.Attempt("a1").Last().GetReleased(), "nobody can be let in")
	})
	waitUntil(t, "nothing of it is left", func() bool { return len(h.pods()) == 0 })
}

func TestSecretsThatCanNotBeHadFailTheSetUp(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	for name, tt := range map[string]struct {
		given *fleetv1.GetSecretsResponse
		want  string
	}{"none": {nil, "not kept any more"}, "large": {secretsOf(1, "A", strings.Repeat("x", 40<<10), "B", strings.Repeat("y", 40<<10)), "64 KiB"}} {
		h.c.SetSecrets(nil)
		h.c.SetSecrets(tt.given)
		a := job("a-"+name, sh("echo never"))
		a.Secrets = true
		h.c.Offer(a)
		got := h.c.WaitDone("a-" + name)
		if last := got.Last(); last.GetResult() != corev1.Result_RESULT_FAILURE || !strings.Contains(last.GetFailure().GetMessage(), tt.want) || logOf(got, 1) != "" {
			t.Errorf("%s: %s, %v", name, last.GetResult(), last.GetFailure())
		}
	}
}
