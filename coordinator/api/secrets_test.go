package api_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/internal/coordtest"
	"github.com/slipway-ci/slipway/internal/id"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

const planted = "correct horse battery staple"

// TestSecretsAreSetListedAndRemoved, and never answered; the audit log says who did what, without values.
func TestSecretsAreSetListedAndRemoved(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	ctx, newID := t.Context(), id.NewSource(h.Clock.Now).New
	ann, admin := apiv1.NewSecretServiceClient(h.User("ann")), apiv1.NewSecretServiceClient(h.User("root", identity.Admins))
	set := func(c apiv1.SecretServiceClient, r *apiv1.SetSecretRequest) (*apiv1.Secret, error) {
		if r.GetRequestId() == "" {
			r.RequestId = newID()
		}
		r.Value = planted
		resp, err := c.SetSecret(ctx, r)
		return resp.GetSecret(), err
	}
	r := &apiv1.SetSecretRequest{Name: "token"}
	first, err := set(ann, r)
	if err != nil || first.GetName() != "TOKEN" || first.GetProject() != "default" || first.GetVersion() != 1 || first.GetUpdatedBy() != "ann" {
		t.Fatalf("%v, %v", first, err)
	}
	if again, err := set(ann, r); err != nil || again.GetVersion() != 1 {
		t.Errorf("the same request again: %v, %v, want version 1", again, err)
	}
	for what, r := range map[string]*apiv1.SetSecretRequest{
		"no request id": {RequestId: "x", Name: "A"}, "a bad name": {Name: "GITHUB_X"}, "two scopes": {Name: "A", Project: "p", Organisation: true}, "a bad project": {Name: "A", Project: "a\x01"},
	} {
		if _, err := set(admin, r); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
			t.Errorf("%s: %v, want INVALID_REQUEST", what, err)
		}
	}
	if _, err := set(ann, &apiv1.SetSecretRequest{Name: "ORG", Organisation: true}); rpcerr.ReasonOf(err) != rpcerr.PermissionDenied {
		t.Errorf("the organisation's, by no administrator: %v, want PERMISSION_DENIED", err)
	}
	if _, err := set(admin, &apiv1.SetSecretRequest{Name: "ORG", Organisation: true}); err != nil {
		t.Error(err)
	}
	list, err := ann.ListSecrets(ctx, &apiv1.ListSecretsRequest{})
	if err != nil || len(list.GetSecrets()) != 2 || list.GetSecrets()[0].GetName() != "ORG" {
		t.Errorf("listed %v, %v", list, err)
	}
	if strings.Contains(fmt.Sprint(list, first), planted) {
		t.Error("a value was answered")
	}
	if _, err := ann.RemoveSecret(ctx, &apiv1.RemoveSecretRequest{RequestId: newID(), Name: "TOKEN"}); err != nil {
		t.Error(err)
	}
	if _, err := ann.RemoveSecret(ctx, &apiv1.RemoveSecretRequest{RequestId: newID(), Name: "TOKEN"}); rpcerr.ReasonOf(err) != rpcerr.NotFound {
		t.Errorf("removed twice: %v, want NOT_FOUND", err)
	}
	records := h.Audit.Find("audit")
	if len(records) == 0 || records[0]["principal"] != "user:ann" || records[0]["name"] != "token" || !strings.HasSuffix(records[0]["method"], "/SetSecret") {
		t.Errorf("audit log %v", records)
	}
	if strings.Contains(fmt.Sprint(records), planted) {
		t.Error("a value is in the audit log")
	}
}

func TestVariablesAreSetListedAndRemoved(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	ctx, newID := t.Context(), id.NewSource(h.Clock.Now).New
	ann, admin := apiv1.NewVariableServiceClient(h.User("ann")), apiv1.NewVariableServiceClient(h.User("root", identity.Admins))
	if _, err := admin.SetVariable(ctx, &apiv1.SetVariableRequest{RequestId: newID(), Organisation: true, Name: "REGION", Value: "eu"}); err != nil {
		t.Fatal(err)
	}
	got, err := ann.SetVariable(ctx, &apiv1.SetVariableRequest{RequestId: newID(), Project: "p", Name: "region", Value: "us"})
	if err != nil || got.GetVariable().GetValue() != "us" || got.GetVariable().GetProject() != "p" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := ann.SetVariable(ctx, &apiv1.SetVariableRequest{RequestId: newID(), Organisation: true, Name: "REGION"}); rpcerr.ReasonOf(err) != rpcerr.PermissionDenied {
		t.Errorf("the organisation's, by no administrator: %v, want PERMISSION_DENIED", err)
	}
	list, err := ann.ListVariables(ctx, &apiv1.ListVariablesRequest{Project: "p"})
	values := map[string]string{}
	for _, v := range list.GetVariables() {
		values[v.GetProject()] = v.GetValue()
	}
	if err != nil || !maps.Equal(values, map[string]string{"": "eu", "p": "us"}) {
		t.Errorf("listed %v, %v", list, err)
	}
	if _, err := ann.RemoveVariable(ctx, &apiv1.RemoveVariableRequest{RequestId: newID(), Project: "p", Name: "REGION"}); err != nil {
		t.Error(err)
	}
	if _, err := ann.RemoveVariable(ctx, &apiv1.RemoveVariableRequest{RequestId: newID(), Project: "p", Name: "REGION"}); rpcerr.ReasonOf(err) != rpcerr.NotFound {
		t.Errorf("removed twice: %v, want NOT_FOUND", err)
	}
}
