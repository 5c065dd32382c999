package agenttest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

func errDenied(why string) error { return rpcerr.New(rpcerr.PermissionDenied, "%s", why) }

// serverSession is a live session; messages go out in order.
type serverSession struct {
	out chan *fleetv1.SessionResponse
}

func (c *Coordinator) sendLocked(m *fleetv1.SessionResponse) {
	if c.current != nil {
		c.current.out <- m
	}
}

// checkPeer insists on a client certificate.
func checkPeer(ctx context.Context) error {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return errDenied("no peer")
	}
	if info, ok := p.AuthInfo.(credentials.TLSInfo); !ok || len(info.State.PeerCertificates) == 0 {
		return errDenied("no client certificate")
	}
	return nil
}

// Session implements fleetv1.FleetServiceServer.
func (c *Coordinator) Session(stream grpc.BidiStreamingServer[fleetv1.SessionRequest, fleetv1.SessionResponse]) error {
	if err := checkPeer(stream.Context()); err != nil {
		return err
	}
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	if first.GetHello() == nil {
		return rpcerr.New(rpcerr.InvalidRequest, "no Hello")
	}
	s := &serverSession{out: make(chan *fleetv1.SessionResponse, 1024)}
	c.mu.Lock()
	if c.removed {
		c.mu.Unlock()
		return rpcerr.New(rpcerr.AgentRemoved, "the agent was removed")
	}
	live := c.liveLocked()
	s.out <- &fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_Welcome{Welcome: &fleetv1.Welcome{
		SessionId: "s", LiveAttempts: live, HeartbeatMs: 20, GraceMs: 60_000,
	}}}
	c.current = s
	c.sessions++
	c.hellos = append(c.hellos, first.GetHello())
	for _, id := range c.order {
		if a := c.attempts[id]; !a.Accepted && a.Rejected == "" && !a.Dead && !slices.Contains(first.GetHello().GetAttempts(), id) {
			c.sendLocked(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_Offer{Offer: &fleetv1.Offer{Assignment: a.Assignment}}})
		}
	}
	c.signalLocked()
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.current == s {
			c.current = nil
		}
		c.signalLocked()
	}()
	received := make(chan error, 1)
	go func() { received <- c.receive(stream) }()
	for {
		select {
		case m := <-s.out:
			if err := stream.Send(m); err != nil {
				return err
			}
		case err := <-received:
			return err
		}
	}
}

func (c *Coordinator) liveLocked() []string {
	var live []string
	for _, id := range c.order {
		if a := c.attempts[id]; !a.Dead && a.Rejected == "" {
			live = append(live, id)
		}
	}
	return live
}

func (c *Coordinator) receive(stream grpc.BidiStreamingServer[fleetv1.SessionRequest, fleetv1.SessionResponse]) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		c.mu.Lock()
		c.handleLocked(m)
		c.signalLocked()
		c.mu.Unlock()
	}
}

func (c *Coordinator) handleLocked(m *fleetv1.SessionRequest) {
	switch m := m.GetMessage().(type) {
	case *fleetv1.SessionRequest_Heartbeat:
		c.beats++
		c.beat = m.Heartbeat
		if echo := m.Heartbeat.GetEcho(); echo != 0 {
			c.sendLocked(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_HeartbeatAck{HeartbeatAck: &fleetv1.HeartbeatAck{Echo: echo}}})
		}
	case *fleetv1.SessionRequest_Drain:
		c.drain = m.Drain
	case *fleetv1.SessionRequest_OfferReply:
		if a := c.attempts[m.OfferReply.GetAttemptId()]; a != nil {
			a.Accepted, a.Rejected = m.OfferReply.GetAccepted(), m.OfferReply.GetReason()
		}
	case *fleetv1.SessionRequest_Report:
		r := m.Report
		a := c.attempts[r.GetAttemptId()]
		if a == nil || a.Dead {
			c.sendLocked(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_Kill{Kill: &fleetv1.Kill{AttemptId: r.GetAttemptId(), Reason: "unknown"}}})
			return
		}
		a.Accepted = true
		if last := a.Last(); last == nil || r.GetSeq() > last.GetSeq() {
			if last != nil && r.GetState() < last.GetState() {
				c.problem("attempt %s went back from %s to %s", r.GetAttemptId(), last.GetState(), r.GetState())
			}
			a.Reports = append(a.Reports, r)
		}
		if !c.holdAcks {
			c.sendLocked(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_ReportAck{ReportAck: &fleetv1.ReportAck{AttemptId: r.GetAttemptId(), Seq: r.GetSeq()}}})
		}
	}
}

// PushLogs implements fleetv1.FleetServiceServer: strict about offsets, and about bytes that come again.
func (c *Coordinator) PushLogs(stream grpc.BidiStreamingServer[fleetv1.PushLogsRequest, fleetv1.PushLogsResponse]) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		c.mu.Lock()
		ack, err := c.pushLocked(m)
		c.signalLocked()
		c.mu.Unlock()
		if err != nil {
			return err
		}
		if err := stream.Send(ack); err != nil {
			return err
		}
	}
}

func (c *Coordinator) pushLocked(m *fleetv1.PushLogsRequest) (*fleetv1.PushLogsResponse, error) {
	a := c.attempts[m.GetAttemptId()]
	if a == nil || a.Dead || m.GetToken() != a.Assignment.GetToken() {
		return nil, errDenied("not this attempt's token")
	}
	l := a.Logs[m.GetStep()]
	if l == nil {
		l = &Log{}
		a.Logs[m.GetStep()] = l
	}
	have, at := int64(len(l.Bytes)), m.GetOffset()
	if at > have {
		return nil, rpcerr.WithDetails(rpcerr.InvalidRequest, "a gap", &fleetv1.PushLogsResponse{AttemptId: m.GetAttemptId(), Step: m.GetStep(), Offset: have})
	}
	known := min(have-at, int64(len(m.GetData())))
	if m.GetEnd() && at+int64(len(m.GetData())) < have {
		c.problem("attempt %s, step %d: an end at %d, but the log has %d bytes already", m.GetAttemptId(), m.GetStep(), at+int64(len(m.GetData())), have)
		return nil, rpcerr.New(rpcerr.InvalidRequest, "an end before bytes that are there already")
	}
	if !bytes.Equal(l.Bytes[at:at+known], m.GetData()[:known]) {
		c.problem("attempt %s, step %d: bytes from %d on came again and were others", m.GetAttemptId(), m.GetStep(), at)
	}
	if rest := m.GetData()[known:]; len(rest) > 0 {
		if l.Ended {
			c.problem("attempt %s, step %d: bytes after the end", m.GetAttemptId(), m.GetStep())
		}
		l.Bytes = append(l.Bytes, rest...)
	}
	l.Ended = l.Ended || m.GetEnd()
	return &fleetv1.PushLogsResponse{AttemptId: m.GetAttemptId(), Step: m.GetStep(), Offset: int64(len(l.Bytes))}, nil
}

// LoseLog drops the end of a log that was acknowledged, as a damaged disk does.
func (c *Coordinator) LoseLog(id string, step uint32, keep int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts[id].Logs[step].Bytes = c.attempts[id].Logs[step].Bytes[:keep]
}

func (c *Coordinator) addBlobLocked(data []byte) string {
	sum := sha256.Sum256(data)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	c.blobs[digest] = data
	return digest
}

func (c *Coordinator) authorize(id, token string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.attempts[id]; a == nil || a.Dead || a.Assignment.GetToken() != token {
		return errDenied("not this attempt's token")
	}
	return nil
}

// GetBlob implements fleetv1.FleetServiceServer.
func (c *Coordinator) GetBlob(r *fleetv1.GetBlobRequest, stream grpc.ServerStreamingServer[fleetv1.GetBlobResponse]) error {
	if err := c.authorize(r.GetAttemptId(), r.GetToken()); err != nil {
		return err
	}
	data := c.Blob(r.GetDigest())
	if data == nil {
		return rpcerr.New(rpcerr.NotFound, "no blob %s", r.GetDigest())
	}
	for part := range slices.Chunk(data, 64<<10) {
		if err := stream.Send(&fleetv1.GetBlobResponse{Data: part}); err != nil {
			return err
		}
	}
	return nil
}

// PutBlob implements fleetv1.FleetServiceServer.
func (c *Coordinator) PutBlob(stream grpc.ClientStreamingServer[fleetv1.PutBlobRequest, fleetv1.PutBlobResponse]) error {
	var data []byte
	for first := true; ; first = false {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if first {
			if err := c.authorize(m.GetAttemptId(), m.GetToken()); err != nil {
				return err
			}
		}
		data = append(data, m.GetData()...)
	}
	return stream.SendAndClose(&fleetv1.PutBlobResponse{Digest: c.AddBlob(data), Size: int64(len(data))})
}

// CreateArtifact implements fleetv1.FleetServiceServer.
func (c *Coordinator) CreateArtifact(_ context.Context, r *fleetv1.CreateArtifactRequest) (*fleetv1.CreateArtifactResponse, error) {
	if err := c.authorize(r.GetAttemptId(), r.GetToken()); err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.artifacts, func(a *corev1.Artifact) bool { return a.GetName() == r.GetArtifact().GetName() })
	switch {
	case i < 0:
		c.artifacts = append(c.artifacts, r.GetArtifact())
	case r.GetOverwrite() || c.artifacts[i].GetDigest() == r.GetArtifact().GetDigest():
		c.artifacts[i] = r.GetArtifact()
	default:
		return nil, rpcerr.New(rpcerr.AlreadyExists, "there is one")
	}
	return &fleetv1.CreateArtifactResponse{}, nil
}

// ListArtifacts implements fleetv1.FleetServiceServer.
func (c *Coordinator) ListArtifacts(_ context.Context, r *fleetv1.ListArtifactsRequest) (*fleetv1.ListArtifactsResponse, error) {
	if err := c.authorize(r.GetAttemptId(), r.GetToken()); err != nil {
		return nil, err
	}
	return &fleetv1.ListArtifactsResponse{Artifacts: c.Artifacts()}, nil
}
