package gateway_test

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/internal/coordtest"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/internal/tlsutil"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

type client struct {
	t *testing.T
	grpc.BidiStreamingClient[fleetv1.SessionRequest, fleetv1.SessionResponse]
}

// session starts one and returns it with its Welcome.
func session(t *testing.T, conn *grpc.ClientConn, attempts ...string) (*client, *fleetv1.Welcome) {
	t.Helper()
	s, err := fleetv1.NewFleetServiceClient(conn).Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, BidiStreamingClient: s}
	c.send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Hello{Hello: &fleetv1.Hello{Hostname: "host", Version: "v1", Attempts: attempts}}})
	m, err := s.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if m.GetWelcome() == nil {
		t.Fatalf("the first message is %v", m)
	}
	return c, m.GetWelcome()
}

func (c *client) send(m *fleetv1.SessionRequest) {
	c.t.Helper()
	if err := c.Send(m); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) report(r *corev1.Report) {
	c.t.Helper()
	c.send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Report{Report: r}})
}

func (c *client) recv() *fleetv1.SessionResponse {
	c.t.Helper()
	m, err := c.Recv()
	if err != nil {
		c.t.Fatal(err)
	}
	return m
}

// end returns why the session ended.
func (c *client) end() error {
	c.t.Helper()
	for {
		if _, err := c.Recv(); err != nil {
			return err
		}
	}
}

func attempt(agent, id string) coordtest.Attempt {
	return coordtest.Attempt{Ref: engine.AttemptRef{RunID: "run1", JobID: "build", AttemptID: id, Project: "p"}, Agent: agent, Token: "sla_" + id}
}

func TestSessionCarriesMessagesBothWays(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	h.Control.PutAttempt(attempt(agent, "att1"))
	s, welcome := session(t, conn)
	if welcome.GetSessionId() == "" || welcome.GetHeartbeatMs() != 2000 || welcome.GetGraceMs() != 60000 {
		t.Fatalf("welcome %v", welcome)
	}
	offer := s.recv().GetOffer().GetAssignment()
	if offer.GetAttemptId() != "att1" {
		t.Fatalf("offer %v", offer)
	}
	s.send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Heartbeat{Heartbeat: &fleetv1.Heartbeat{DiskFree: 7}}})
	h.Await("heartbeat " + agent + " 7")
	s.send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_OfferReply{OfferReply: &fleetv1.OfferReply{AttemptId: "att1", Accepted: true}}})
	h.Await("reply att1 true")
	if meta, err := h.Logs.Meta("att1"); err != nil || meta.Run != "run1" || meta.Agent != agent {
		t.Fatalf("an accepted attempt's logs: %+v, %v", meta, err)
	}
	s.report(&corev1.Report{AttemptId: "att1", Seq: 1, State: corev1.AttemptState_ATTEMPT_STATE_RUNNING})
	if ack := s.recv().GetReportAck(); ack.GetAttemptId() != "att1" || ack.GetSeq() != 1 {
		t.Fatalf("ack %v", ack)
	}
	h.Control.Outbox(agent).Send(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_Cancel{Cancel: &fleetv1.Cancel{AttemptId: "att1"}}})
	if c := s.recv().GetCancel(); c.GetAttemptId() != "att1" {
		t.Fatalf("cancel %v", c)
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := s.end(); !errors.Is(err, io.EOF) {
		t.Fatalf("an orderly end: %v", err)
	}
	h.Await("disconnect " + agent)
}

func TestIdentityIsTheCertificates(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	session(t, conn)
	all, err := h.Control.Agents(t.Context())
	if err != nil || len(all) != 1 || all[0].GetId() != agent || all[0].GetPool() != "default" || !slices.Equal(all[0].GetLabels(), []string{"big"}) {
		t.Fatalf("%v, %v", all, err)
	}
}

func TestReattachNamesTheLivingAttempts(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	h.Control.PutAttempt(attempt(agent, "att1"))
	ended := attempt(agent, "att2")
	ended.Ended = true
	h.Control.PutAttempt(ended)
	_, welcome := session(t, conn, "att1", "att2", "att3")
	if !slices.Equal(welcome.GetLiveAttempts(), []string{"att1"}) {
		t.Fatalf("live %v", welcome.GetLiveAttempts())
	}
}

func TestSilenceEndsASessionAndHeartbeatsKeepIt(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	s, _ := session(t, conn)
	for range 5 {
		h.Clock.Advance(9 * time.Second)
		s.send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Heartbeat{Heartbeat: &fleetv1.Heartbeat{}}})
		h.Await("heartbeat " + agent + " 0")
	}
	h.Clock.Advance(10 * time.Second)
	if err := s.end(); rpcerr.ReasonOf(err) != rpcerr.Busy || !strings.Contains(err.Error(), "nothing was heard") {
		t.Fatalf("after the deadline: %v", err)
	}
	h.Await("disconnect " + agent)
}

func TestSilenceBeforeHello(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	_, conn := h.Agent()
	s, err := fleetv1.NewFleetServiceClient(conn).Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := s.Recv()
		done <- err
	}()
	for { // the server winds its deadline up at a moment that no client can see
		h.Clock.Advance(time.Second)
		select {
		case err := <-done:
			if rpcerr.ReasonOf(err) != rpcerr.Busy {
				t.Fatal(err)
			}
			return
		default:
			runtime.Gosched()
		}
	}
}

func TestFirstMessageMustBeHello(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	_, conn := h.Agent()
	s, err := fleetv1.NewFleetServiceClient(conn).Session(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Heartbeat{Heartbeat: &fleetv1.Heartbeat{}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
		t.Fatalf("%v", err)
	}
	again, _ := session(t, conn)
	again.send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Hello{Hello: &fleetv1.Hello{Hostname: "host", Version: "v1"}}})
	if err := again.end(); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
		t.Fatalf("a second Hello: %v", err)
	}
}

func TestFencedAttemptIsKilledAndTheSessionGoesOn(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	s, _ := session(t, conn, "old")
	s.report(&corev1.Report{AttemptId: "old", Seq: 9})
	if k := s.recv().GetKill(); k.GetAttemptId() != "old" || k.GetReason() == "" {
		t.Fatalf("kill %v", k)
	}
	s.send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Heartbeat{Heartbeat: &fleetv1.Heartbeat{}}})
	h.Await("heartbeat " + agent + " 0")
}

// A late report in a session that another one replaced says nothing of the attempt, which the agent may well run on.
func TestAReplacedSessionEndsAndKillsNothing(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	h.Control.PutAttempt(attempt(agent, "att1"))
	old, _ := session(t, conn, "att1")
	session(t, conn, "att1")
	old.report(&corev1.Report{AttemptId: "att1", Seq: 1, State: corev1.AttemptState_ATTEMPT_STATE_RUNNING})
	if m, err := old.Recv(); rpcerr.ReasonOf(err) != rpcerr.SessionEnded {
		t.Fatalf("%v %v", m, err)
	}
}

func TestTheEngineEndsASession(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	s, _ := session(t, conn)
	h.Control.Outbox(agent).End(rpcerr.New(rpcerr.SessionEnded, "silent"))
	if err := s.end(); rpcerr.ReasonOf(err) != rpcerr.SessionEnded {
		t.Fatalf("%v", err)
	}
}

// Whoever hangs up while the engine begins the session must not stay connected there.
func TestHangingUpDuringConnectDisconnects(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	h.Control.ConnectGate = func(ctx context.Context) { <-ctx.Done() }
	ctx, hangUp := context.WithCancel(t.Context())
	s, err := fleetv1.NewFleetServiceClient(conn).Session(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Hello{Hello: &fleetv1.Hello{Hostname: "host", Version: "v1"}}}); err != nil {
		t.Fatal(err)
	}
	h.Await("connect " + agent)
	hangUp()
	h.Await("disconnect " + agent)
}

// Messages that wait for a slow engine are bounded by their bytes, too.
func TestASessionDoesNotFillTheMemory(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	h.Control.PutAttempt(attempt(agent, "att1"))
	gate, entered := make(chan struct{}), make(chan struct{}, 100)
	h.Control.ReportGate = func(*corev1.Report) { entered <- struct{}{}; <-gate }
	defer close(gate)
	s, _ := session(t, conn, "att1")
	s.report(&corev1.Report{AttemptId: "att1", Seq: 1})
	<-entered
	big := &corev1.Report{AttemptId: "att1", Seq: 2, Failure: &corev1.Failure{Message: strings.Repeat("x", 15<<20)}}
	for range 6 { // an answer between two reports, so that they are not one
		if s.Send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Report{Report: big}}) != nil ||
			s.Send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_OfferReply{OfferReply: &fleetv1.OfferReply{AttemptId: "att1"}}}) != nil {
			break
		}
	}
	if err := s.end(); rpcerr.ReasonOf(err) != rpcerr.Busy || !strings.Contains(err.Error(), "bytes, wait") {
		t.Fatalf("%v", err)
	}
}

func TestSlowCommitDoesNotHoldBackHeartbeatsAndReportsCoalesce(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	h.Control.PutAttempt(attempt(agent, "att1"))
	h.Control.PutAttempt(attempt(agent, "att2"))
	gate := make(chan struct{})
	entered := make(chan uint64, 100)
	h.Control.ReportGate = func(r *corev1.Report) {
		if r.GetAttemptId() == "att1" {
			entered <- r.GetSeq()
			<-gate
		}
	}
	s, _ := session(t, conn, "att1", "att2")
	s.report(&corev1.Report{AttemptId: "att1", Seq: 1})
	<-entered
	for seq := uint64(2); seq <= 50; seq++ {
		s.report(&corev1.Report{AttemptId: "att1", Seq: seq})
	}
	s.report(&corev1.Report{AttemptId: "att2", Seq: 1})
	h.Await("report att2 1") // another attempt is not held back
	s.send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Heartbeat{Heartbeat: &fleetv1.Heartbeat{}}})
	h.Await("heartbeat " + agent + " 0")
	close(gate)
	for {
		if ack := s.recv().GetReportAck(); ack.GetAttemptId() == "att1" && ack.GetSeq() == 50 {
			break
		}
	}
	if n := len(entered); n != 1 {
		t.Errorf("the engine saw %d more reports, want the newest only", n)
	}
}

func TestSessionEndsWithItsCertificate(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{Config: func(c *config.Config) {
		c.Agents.Deadline, c.Agents.Grace = config.Duration(100*time.Hour), config.Duration(100*time.Hour)
	}})
	agent, conn := h.Agent()
	s, _ := session(t, conn)
	h.Clock.Advance(23 * time.Hour)
	s.send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Heartbeat{Heartbeat: &fleetv1.Heartbeat{}}})
	h.Await("heartbeat " + agent + " 0")
	h.Clock.Advance(time.Hour)
	if err := s.end(); rpcerr.ReasonOf(err) != rpcerr.Unauthenticated {
		t.Fatalf("%v", err)
	}
	// Nor does the open connection serve other calls.
	if _, err := fleetv1.NewFleetServiceClient(conn).ListArtifacts(t.Context(), &fleetv1.ListArtifactsRequest{}); rpcerr.ReasonOf(err) != rpcerr.Unauthenticated {
		t.Fatalf("%v", err)
	}
}

func TestStopAndEndSessions(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	_, conn := h.Agent()
	s, _ := session(t, conn)
	h.Gateway.EndSessions()
	if err := s.end(); rpcerr.ReasonOf(err) != rpcerr.NotLeader {
		t.Fatalf("%v", err)
	}
	s, _ = session(t, conn)
	h.Gateway.Stop()
	if err := s.end(); rpcerr.ReasonOf(err) != rpcerr.NotLeader {
		t.Fatalf("%v", err)
	}
}

func TestRenew(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	keyPEM, csr, err := tlsutil.NewKeyAndCSR("ignored")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := fleetv1.NewFleetServiceClient(conn).Renew(t.Context(), &fleetv1.RenewRequest{Csr: csr})
	if err != nil {
		t.Fatal(err)
	}
	session(t, h.WithCertificate(resp.GetCertificate(), keyPEM))
	all, _ := h.Control.Agents(t.Context())
	if all[0].GetId() != agent {
		t.Fatalf("renewed as %v", all)
	}
	if _, err := h.Store.Commit(context.Background(), deleteKey("/slipway/v1/agent/"+agent)); err != nil {
		t.Fatal(err)
	}
	if _, err := fleetv1.NewFleetServiceClient(conn).Renew(t.Context(), &fleetv1.RenewRequest{Csr: csr}); rpcerr.ReasonOf(err) != rpcerr.PermissionDenied {
		t.Fatalf("a removed agent was renewed: %v", err)
	}
}

func TestWhoMayCallWhat(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	for name, conn := range map[string]*grpc.ClientConn{"anonymous": h.Anonymous(), "user": h.User("ann", "admins")} {
		if _, err := fleetv1.NewFleetServiceClient(conn).ListArtifacts(t.Context(), &fleetv1.ListArtifactsRequest{}); rpcerr.ReasonOf(err) != rpcerr.Unauthenticated {
			t.Errorf("%s: %v", name, err)
		}
	}
	other := coordtest.New(t, coordtest.Options{})
	key, csr, err := tlsutil.NewKeyAndCSR("x")
	if err != nil {
		t.Fatal(err)
	}
	pub, _ := tlsutil.ParseCSR(csr)
	foreign, err := other.CA.SignAgent(pub, tlsutil.AgentIdentity{ID: "a", Pool: "p"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fleetv1.NewFleetServiceClient(h.WithCertificate(foreign, key)).ListArtifacts(t.Context(), &fleetv1.ListArtifactsRequest{}); status.Code(err) != codes.Unavailable {
		t.Errorf("another CA's agent: %v", err)
	}
}
