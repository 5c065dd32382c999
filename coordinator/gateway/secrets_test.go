package gateway_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/internal/coordtest"
	"github.com/slipway-ci/slipway/coordinator/secrets"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func keep(t *testing.T, h *coordtest.Harness, scope, name, value string) {
	t.Helper()
	if _, err := h.Secrets.Set(secrets.Secrets, secrets.Change{RequestID: name + value, Scope: scope, Name: name, By: "ann"}, value); err != nil {
		t.Fatal(err)
	}
}

// words is an answer as "A=1 B=2, masks [3]".
func words(r *fleetv1.GetSecretsResponse) string {
	var out []string
	for _, s := range r.GetSecrets() {
		out = append(out, s.GetName()+"="+s.GetValue())
	}
	return fmt.Sprintf("%s, masks %s", strings.Join(out, " "), r.GetMasks())
}

// TestAnAttemptGetsTheSecretsOfItsJob, with its own token, and the same again by their revision.
func TestAnAttemptGetsTheSecretsOfItsJob(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	h.Control.PutRun(&apiv1.Run{Id: "run1", Number: 1})
	keep(t, h, "p", "A", "planted one")
	keep(t, h, "p", "B", "planted two")
	put := func(u engine.SecretUse) {
		u.Project = "p"
		h.Control.PutAttempt(coordtest.Attempt{Ref: engine.AttemptRef{RunID: "run1", JobID: "a", AttemptID: "att1", Project: "p"}, Agent: agent, Token: "tok", Use: u})
	}
	client := fleetv1.NewFleetServiceClient(conn)
	ask := func(revision uint64) *fleetv1.GetSecretsResponse {
		t.Helper()
		r, err := client.GetSecrets(t.Context(), &fleetv1.GetSecretsRequest{AttemptId: "att1", Token: "tok", Revision: revision})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	put(engine.SecretUse{Names: []string{"A", "NOT_THERE"}})
	first := ask(0)
	if got := words(first); got != "A=planted one, masks []" || first.GetRevision() == 0 {
		t.Errorf("%s, revision %d", got, first.GetRevision())
	}
	keep(t, h, "p", "A", "planted three")
	if got := words(ask(first.GetRevision())); got != "A=planted one, masks []" {
		t.Errorf("by its revision: %s", got)
	}
	put(engine.SecretUse{All: true})
	if got := words(ask(0)); got != "A=planted three B=planted two, masks []" {
		t.Errorf("all: %s", got)
	}
	expression := func(src string) *planv1.Value { return &planv1.Value{Kind: &planv1.Value_Expr{Expr: src}} }
	put(engine.SecretUse{Names: []string{"INNER"}, Calls: []engine.SecretCall{{Inherit: true}, {
		Entries: []*planv1.Entry{
			{Name: "inner", Value: expression("format('{0}@{1}', secrets.b, matrix.host)")},
			{Name: "other", Value: expression("secrets.A")},
		},
		Contexts: `{"matrix": {"host": "example"}}`,
	}}})
	if got := words(ask(0)); got != "INNER=planted two@example, masks [planted two]" {
		t.Errorf("through calls: %s", got)
	}
	for what, r := range map[string]*fleetv1.GetSecretsRequest{"wrong token": {AttemptId: "att1", Token: "x"}, "wrong attempt": {AttemptId: "att2", Token: "tok"}} {
		if _, err := client.GetSecrets(t.Context(), r); rpcerr.ReasonOf(err) != rpcerr.PermissionDenied {
			t.Errorf("%s: %v, want PERMISSION_DENIED", what, err)
		}
	}
	if _, err := fleetv1.NewFleetServiceClient(h.User("ann")).GetSecrets(t.Context(), &fleetv1.GetSecretsRequest{AttemptId: "att1", Token: "tok"}); err == nil {
		t.Error("a user was given secrets")
	}
	given, audit := h.Audit.Find("an attempt was given secrets"), h.Audit.Find("audit")
	if len(given) != 4 || given[0]["names"] != "[A]" || given[0]["attempt"] != "att1" || !strings.Contains(fmt.Sprint(audit), "GetSecrets") {
		t.Errorf("said %v", given)
	}
	if strings.Contains(fmt.Sprint(given, audit), "planted") {
		t.Error("a value is in the log")
	}
}
