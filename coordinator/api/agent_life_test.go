package api_test

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/internal/coordtest"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

func TestDrainingIsForAdministratorsAndAudited(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	id, conn := h.Agent()
	stream, err := fleetv1.NewFleetServiceClient(conn).Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := stream.Send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Hello{Hello: &fleetv1.Hello{Hostname: "build1", Version: "1"}}}); err != nil {
		t.Fatal(err)
	}
	h.Await("connect " + id)
	people := apiv1.NewAgentServiceClient(h.User("ann", "dev"))
	if a, err := people.GetAgent(t.Context(), &apiv1.GetAgentRequest{Agent: id}); err != nil || a.GetAgent().GetHostname() != "build1" {
		t.Errorf("%v, %v", a, err)
	}
	drain := &apiv1.DrainAgentRequest{RequestId: ids.New(), Agent: id, DeadlineMs: 90_000, Reason: "disk"}
	if _, err := people.DrainAgent(t.Context(), drain); rpcerr.ReasonOf(err) != rpcerr.PermissionDenied {
		t.Errorf("a user drains: %v", err)
	}
	admin := apiv1.NewAgentServiceClient(h.User("root", "admins"))
	if _, err := admin.DrainAgent(t.Context(), drain); err != nil {
		t.Fatal(err)
	}
	h.Await("drain " + id + " 1m30s by root: disk")
	for _, bad := range []*apiv1.DrainAgentRequest{
		{Agent: id}, {RequestId: ids.New(), Agent: id, DeadlineMs: -1}, {RequestId: ids.New(), Agent: id, Reason: strings.Repeat("x", 1<<16)},
	} {
		if _, err := admin.DrainAgent(t.Context(), bad); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
			t.Errorf("%d bytes: %v", proto.Size(bad), err)
		}
	}
	if _, err := admin.ResumeAgent(t.Context(), &apiv1.ResumeAgentRequest{RequestId: ids.New(), Agent: id}); err != nil {
		t.Error(err)
	}
	if r, err := admin.RemoveAgent(t.Context(), &apiv1.RemoveAgentRequest{RequestId: ids.New(), Agent: id, Force: true}); err != nil || r.GetAgentId() != id {
		t.Errorf("%v, %v", r, err)
	}
	h.Await("remove " + id + " true by root")
	audited := map[string]bool{}
	for _, r := range h.Audit.Find("audit") {
		if r["agent"] == id {
			audited[r["principal"]+" "+r["method"][strings.LastIndex(r["method"], "/")+1:]+" "+r["code"]] = true
		}
	}
	for _, want := range []string{"user:ann DrainAgent PermissionDenied", "user:root DrainAgent OK", "user:root ResumeAgent OK", "user:root RemoveAgent OK"} {
		if !audited[want] {
			t.Errorf("no audit record %q among %v", want, audited)
		}
	}
}

func TestTheCertificateOfARemovedAgentIsRefused(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	id, conn := h.Agent()
	agent := fleetv1.NewFleetServiceClient(conn)
	call := func() error {
		_, err := agent.ListArtifacts(t.Context(), &fleetv1.ListArtifactsRequest{AttemptId: "x"})
		return err
	}
	if err := call(); !strings.Contains(rpcerr.Message(err), "attempt x") {
		t.Fatalf("before: %v", err)
	}
	value, err := proto.Marshal(&statev1.RemovedAgent{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Store.Commit(t.Context(), store.Txn{Branches: []store.Branch{{Ops: []store.Op{{Key: "/slipway/v1/removed/" + id, Value: value}}}}}); err != nil {
		t.Fatal(err)
	}
	// Another coordinator removed it: this one looks again after a moment.
	h.Clock.Advance(3 * time.Second)
	if err := call(); rpcerr.ReasonOf(err) != rpcerr.AgentRemoved || !strings.Contains(rpcerr.Message(err), "was removed") {
		t.Errorf("after: %v", err)
	}
}
