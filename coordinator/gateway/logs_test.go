package gateway_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/coordinator/internal/coordtest"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

func deleteKey(key string) store.Txn {
	return store.Txn{Branches: []store.Branch{{Ops: []store.Op{{Key: key, Delete: true}}}}}
}

func pushStream(t *testing.T, conn *grpc.ClientConn) grpc.BidiStreamingClient[fleetv1.PushLogsRequest, fleetv1.PushLogsResponse] {
	t.Helper()
	s, err := fleetv1.NewFleetServiceClient(conn).PushLogs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func piece(attempt string, step uint32, offset int, data []byte, end bool) *fleetv1.PushLogsRequest {
	return &fleetv1.PushLogsRequest{AttemptId: attempt, Token: "sla_" + attempt, Step: step, Offset: int64(offset), Data: data, End: end}
}

// pushAll sends messages, ends the stream and returns the last acknowledgement of each step.
func pushAll(t *testing.T, conn *grpc.ClientConn, ms ...*fleetv1.PushLogsRequest) (acked map[uint32]int64, err error) {
	t.Helper()
	s := pushStream(t, conn)
	for _, m := range ms {
		if err := s.Send(m); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	if err := s.CloseSend(); err != nil {
		t.Fatal(err)
	}
	acked = map[uint32]int64{}
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return acked, nil
		}
		if err != nil {
			return acked, err
		}
		acked[m.GetStep()] = m.GetOffset()
	}
}

func TestAStreamHasSoManyFilesOpen(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	h.Control.PutAttempt(attempt(agent, "att1"))
	var open []*fleetv1.PushLogsRequest
	for step := range uint32(1025) {
		open = append(open, piece("att1", step, 0, nil, false))
	}
	if _, err := pushAll(t, conn, open...); rpcerr.ReasonOf(err) != rpcerr.Busy {
		t.Fatalf("%v", err)
	}
}

func TestPushedLogsAreStoredExactly(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	h.Control.PutAttempt(attempt(agent, "att1"))
	content := bytes.Repeat([]byte("0123456789abcdef"), 20000)
	var ms []*fleetv1.PushLogsRequest
	for at := 0; at < len(content); at += 50000 {
		to := min(at+50000, len(content))
		ms = append(ms, piece("att1", 1, at, content[at:to], to == len(content)))
		ms = append(ms, piece("att1", 1, max(at-999, 0), content[max(at-999, 0):to], false)) // repeats
	}
	ms = append(ms, piece("att1", 2, 0, nil, true))
	acked, err := pushAll(t, conn, ms...)
	if err != nil || acked[1] != int64(len(content)) || acked[2] != 0 {
		t.Fatalf("acked %v, %v", acked, err)
	}
	infos, err := h.Logs.List("run1")
	if err != nil || len(infos) != 2 || !infos[0].Complete() || !infos[1].Complete() {
		t.Fatalf("%+v, %v", infos, err)
	}
	got := make([]byte, len(content))
	if _, err := h.Logs.ReadAt("att1", 1, got, 0); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("other bytes, %v", err)
	}
}

func TestGapNamesTheOffsetWanted(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	h.Control.PutAttempt(attempt(agent, "att1"))
	_, err := pushAll(t, conn, piece("att1", 1, 0, []byte("abc"), false), piece("att1", 1, 5, []byte("fg"), false))
	want, ok := rpcerr.Detail[*fleetv1.PushLogsResponse](err)
	if rpcerr.ReasonOf(err) != rpcerr.InvalidRequest || !ok || want.GetOffset() != 3 || want.GetStep() != 1 {
		t.Fatalf("%v, %v", err, want)
	}
	acked, err := pushAll(t, conn, piece("att1", 1, 3, []byte("defg"), true))
	if err != nil || acked[1] != 7 {
		t.Fatalf("%v, %v", acked, err)
	}
	_, err = pushAll(t, conn, piece("att1", 1, 7, []byte("h"), false))
	if rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
		t.Fatalf("after the end: %v", err)
	}
}

func TestLogsNeedTheAttemptsTokenAndAgent(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	_, otherConn := h.Agent()
	h.Control.PutAttempt(attempt(agent, "att1"))
	bad := piece("att1", 1, 0, []byte("x"), false)
	bad.Token = "sla_guess"
	for name, c := range map[string]struct {
		conn *grpc.ClientConn
		m    *fleetv1.PushLogsRequest
	}{"a wrong token": {conn, bad}, "another agent": {otherConn, piece("att1", 1, 0, []byte("x"), false)}, "an unknown attempt": {conn, piece("att9", 1, 0, []byte("x"), false)}} {
		if _, err := pushAll(t, c.conn, c.m); rpcerr.ReasonOf(err) != rpcerr.PermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A token that was right once in the stream does not open the door for a wrong one.
	if _, err := pushAll(t, conn, piece("att1", 1, 0, []byte("x"), false), bad); rpcerr.ReasonOf(err) != rpcerr.PermissionDenied {
		t.Errorf("a wrong token later in the stream: %v", err)
	}
}

func TestLastBytesOfAnEndedAttemptAreTaken(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	_, otherConn := h.Agent()
	h.Control.PutAttempt(attempt(agent, "att1"))
	s, _ := session(t, conn)
	s.recv() // the offer
	s.send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_OfferReply{OfferReply: &fleetv1.OfferReply{AttemptId: "att1", Accepted: true}}})
	sum := sha256.Sum256([]byte("late"))
	s.report(&corev1.Report{AttemptId: "att1", Seq: 1, State: corev1.AttemptState_ATTEMPT_STATE_DONE, Logs: []*corev1.LogSum{{Step: 1, Length: 4, Sha256: hex.EncodeToString(sum[:])}}})
	if s.recv().GetReportAck() == nil {
		t.Fatal("no ack")
	}
	infos, _ := h.Logs.List("run1")
	if len(infos) != 1 || infos[0].Complete() {
		t.Fatalf("what is missing is not known: %+v", infos)
	}
	if _, err := pushAll(t, otherConn, piece("att1", 1, 0, []byte("evil"), true)); rpcerr.ReasonOf(err) != rpcerr.PermissionDenied {
		t.Fatalf("another agent: %v", err)
	}
	if acked, err := pushAll(t, conn, piece("att1", 1, 0, []byte("late"), true)); err != nil || acked[1] != 4 {
		t.Fatalf("%v, %v", acked, err)
	}
	if infos, _ := h.Logs.List("run1"); !infos[0].Complete() || infos[0].Damaged {
		t.Fatalf("%+v", infos)
	}
}

func TestAcknowledgementsComeWhileTheStreamIsOpen(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	h.Control.PutAttempt(attempt(agent, "att1"))
	s := pushStream(t, conn)
	for i := range 10 {
		if err := s.Send(piece("att1", 1, i, []byte("x"), false)); err != nil {
			t.Fatal(err)
		}
		for {
			m, err := s.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if m.GetOffset() == int64(i+1) {
				break
			}
		}
	}
}

func TestRepeatsAfterTheEndAreAcknowledged(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	h.Control.PutAttempt(attempt(agent, "att1"))
	var ms []*fleetv1.PushLogsRequest
	for range 300 {
		ms = append(ms, piece("att1", 1, 0, []byte("all of it"), true))
	}
	if acked, err := pushAll(t, conn, ms...); err != nil || acked[1] != 9 {
		t.Fatalf("%v, %v", acked, err)
	}
}

func TestAFailingDiskEndsTheStream(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	h.Control.PutAttempt(attempt(agent, "att1"))
	if err := h.Logs.Register(logs.Meta{Run: "run1", Job: "build", Attempt: "att1", Agent: agent}); err != nil {
		t.Fatal(err)
	}
	w, err := h.Logs.Writer("att1", 1) // keeps the attempt in memory
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := os.Remove(filepath.Join(h.LogDir, "attempts", "att1", "meta.json")); err != nil { // can't be made durable any more
		t.Fatal(err)
	}
	s := pushStream(t, conn)
	if err := s.Send(piece("att1", 1, 0, []byte("x"), false)); err != nil {
		t.Fatal(err)
	}
	// The sender waits for its acknowledgement and sends nothing more.
	if _, err := s.Recv(); rpcerr.ReasonOf(err) != rpcerr.Internal {
		t.Fatalf("%v", err)
	}
}
