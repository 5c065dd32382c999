package server_test

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/server"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

func TestARunFromSubmitToItsLastLogByte(t *testing.T) {
	for _, kind := range []string{config.StoreMemory, config.StoreEtcd} {
		t.Run(kind, func(t *testing.T) { oneRun(t, start(t, kind), func() {}) })
	}
}

func TestARunSurvivesTheCoordinator(t *testing.T) {
	s := start(t, config.StoreEtcd)
	oneRun(t, s, func() { s.shutdown(); s.start() })
}

// oneRun plays an agent through a run; disturb is called while the step runs.
func oneRun(t *testing.T, s *system, disturb func()) {
	admin := s.admin()
	agentConn := s.join(admin)
	session, _ := openSession(t, agentConn)
	request := ids.New()
	resp, err := submit(t.Context(), admin, request, workflow)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := submit(t.Context(), admin, request, workflow); err != nil || again.GetRunId() != resp.GetRunId() {
		t.Fatalf("a repeat: %v, %v", again, err)
	}
	offer := session.next(func(m *fleetv1.SessionResponse) bool { return m.GetOffer() != nil }).GetOffer().GetAssignment()
	if offer.GetRunId() != resp.GetRunId() || !strings.Contains(offer.GetImage(), "/library/runner@sha256:") {
		t.Fatalf("offer of run %s with image %q", offer.GetRunId(), offer.GetImage())
	}
	att := offer.GetAttemptId()
	session.send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_OfferReply{OfferReply: &fleetv1.OfferReply{AttemptId: att, Accepted: true}}})
	session.report(&corev1.Report{AttemptId: att, Seq: 1, State: corev1.AttemptState_ATTEMPT_STATE_RUNNING})
	push(t, agentConn, &fleetv1.PushLogsRequest{AttemptId: att, Token: offer.GetToken(), Step: 1, Data: []byte("hel")})

	disturb()

	session, welcome := openSession(t, agentConn, att)
	if len(welcome.GetLiveAttempts()) != 1 {
		t.Fatalf("live %v", welcome.GetLiveAttempts())
	}
	logs := follow(t, s.admin(), resp.GetRunId())
	sum := sha256.Sum256([]byte("hello\n"))
	session.report(&corev1.Report{AttemptId: att, Seq: 2, State: corev1.AttemptState_ATTEMPT_STATE_DONE, Result: corev1.Result_RESULT_SUCCESS,
		Steps: []*corev1.StepStatus{{Number: 1, Name: "Run echo hello", State: corev1.StepState_STEP_STATE_SUCCEEDED, Outcome: corev1.Result_RESULT_SUCCESS, Conclusion: corev1.Result_RESULT_SUCCESS}},
		Logs:  []*corev1.LogSum{{Step: 1, Length: 6, Sha256: hex.EncodeToString(sum[:])}}})
	watch, err := apiv1.NewRunServiceClient(s.admin()).WatchRun(t.Context(), &apiv1.WatchRunRequest{RunId: resp.GetRunId()})
	if err != nil {
		t.Fatal(err)
	}
	var last *apiv1.Run
	for {
		m, err := watch.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		last = m.GetRun()
	}
	if last.GetState() != corev1.RunState_RUN_STATE_SUCCEEDED {
		t.Fatalf("the run ended as %v: %v", last.GetState(), last.GetFailure())
	}
	// The run has ended, its last bytes have not come yet: the follower waits for them.
	push(t, agentConn, &fleetv1.PushLogsRequest{AttemptId: att, Token: offer.GetToken(), Step: 1, Offset: 3, Data: []byte("lo\n"), End: true})
	if got := <-logs; got != "hello\n" {
		t.Fatalf("followed %q", got)
	}
}

func push(t *testing.T, conn *grpc.ClientConn, m *fleetv1.PushLogsRequest) {
	t.Helper()
	st, err := fleetv1.NewFleetServiceClient(conn).PushLogs(t.Context(), grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Send(m); err != nil {
		t.Fatal(err)
	}
	if ack, err := st.Recv(); err != nil || ack.GetOffset() != m.GetOffset()+int64(len(m.GetData())) {
		t.Fatalf("%v, %v", ack, err)
	}
	if err := st.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := st.Recv(); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
}

// follow delivers all of a run's log once the stream has ended.
func follow(t *testing.T, conn *grpc.ClientConn, run string) <-chan string {
	t.Helper()
	st, err := apiv1.NewLogServiceClient(conn).StreamLogs(t.Context(), &apiv1.StreamLogsRequest{RunId: run, Follow: true})
	if err != nil {
		t.Fatal(err)
	}
	out := make(chan string, 1)
	go func() {
		var all strings.Builder
		for {
			m, err := st.Recv()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					all.WriteString("ERROR " + err.Error())
				}
				out <- all.String()
				return
			}
			all.Write(m.GetData())
		}
	}()
	return out
}

func TestBadSubmissionsStartNothing(t *testing.T) {
	s := start(t, config.StoreMemory)
	admin := s.admin()
	for name, c := range map[string]struct {
		src, want string
		reason    rpcerr.Reason
	}{
		"unknown key":    {strings.Replace(workflow, "steps:", "stepps: []\n    steps:", 1), "stepps", rpcerr.InvalidPipeline},
		"unknown need":   {strings.Replace(workflow, "steps:", "needs: nobody\n    steps:", 1), "nobody", rpcerr.InvalidPipeline},
		"unknown runner": {strings.Replace(workflow, "ubuntu-latest", "ubuntu-latst", 1), "did you mean `ubuntu-latest`?", rpcerr.InvalidPipeline},
		"no image":       {strings.Replace(workflow, "steps:", "container: nowhere:7\n    steps:", 1), "nowhere:7", rpcerr.ImageUnavailable},
		"empty":          {"", "", rpcerr.InvalidPipeline},
		"binary":         {"\x00\x01\x02", "", rpcerr.InvalidPipeline},
		"large":          {strings.Repeat("#", 5<<20), "too many", rpcerr.InvalidPipeline},
	} {
		_, err := submit(t.Context(), admin, ids.New(), c.src)
		if rpcerr.ReasonOf(err) != c.reason {
			t.Errorf("%s: %v", name, err)
			continue
		}
		text := rpcerr.Message(err)
		if d, ok := rpcerr.Detail[*apiv1.Diagnostics](err); ok {
			for _, one := range d.GetDiagnostics() {
				text += " " + one.GetMessage() + " " + one.GetHint()
			}
		} else if c.reason == rpcerr.InvalidPipeline {
			t.Errorf("%s: no diagnostics", name)
		}
		if !strings.Contains(text, c.want) {
			t.Errorf("%s: %s", name, text)
		}
	}
	if _, err := submit(t.Context(), admin, "not-a-ulid", workflow); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
		t.Errorf("a bad request id: %v", err)
	}
	list, err := apiv1.NewRunServiceClient(admin).ListRuns(t.Context(), &apiv1.ListRunsRequest{})
	if err != nil || len(list.GetRuns()) != 0 {
		t.Fatalf("%v, %v", list, err)
	}
}

func TestHTTP(t *testing.T) {
	s := start(t, config.StoreMemory)
	for path, want := range map[string]string{"/healthz": "ok", "/metrics": "slipway_runs"} {
		resp, err := http.Get("http://" + s.srv.MetricsAddr() + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) {
			t.Errorf("%s: %d, %v", path, resp.StatusCode, err)
		}
	}
}

func TestAnotherCoordinatorOnTheSameAddress(t *testing.T) {
	s := start(t, config.StoreMemory)
	conf := s.conf
	conf.DataDir = t.TempDir()
	if _, err := server.New(conf, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "another coordinator may be running") {
		t.Fatal(err)
	}
}
