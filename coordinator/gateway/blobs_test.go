package gateway_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/internal/coordtest"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

func put(t *testing.T, conn *grpc.ClientConn, token string, parts ...[]byte) (*fleetv1.PutBlobResponse, error) {
	t.Helper()
	s, err := fleetv1.NewFleetServiceClient(conn).PutBlob(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range parts {
		m := &fleetv1.PutBlobRequest{Data: p}
		if i == 0 {
			m.AttemptId, m.Token = "att1", token
		}
		if err := s.Send(m); err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	}
	return s.CloseAndRecv()
}

func get(t *testing.T, conn *grpc.ClientConn, token, digest string) ([]byte, error) {
	t.Helper()
	s, err := fleetv1.NewFleetServiceClient(conn).GetBlob(t.Context(), &fleetv1.GetBlobRequest{AttemptId: "att1", Token: token, Digest: digest})
	if err != nil {
		t.Fatal(err)
	}
	var all []byte
	for {
		m, err := s.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
		all = append(all, m.GetData()...)
	}
}

func TestArtifactsFromUploadToDownload(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{Config: func(c *config.Config) { c.Limits.BlobBytes = 2 << 20 }})
	agent, conn := h.Agent()
	h.Control.PutRun(&apiv1.Run{Id: "run1", Number: 1})
	h.Control.PutAttempt(attempt(agent, "att1"))
	fleet := fleetv1.NewFleetServiceClient(conn)
	content := bytes.Repeat([]byte("zip"), 200_000)
	resp, err := put(t, conn, "sla_att1", nil, content[:1000], content[1000:])
	if err != nil || resp.GetSize() != int64(len(content)) {
		t.Fatalf("%v, %v", resp, err)
	}
	if _, err := get(t, conn, "sla_att1", resp.GetDigest()); rpcerr.ReasonOf(err) != rpcerr.PermissionDenied {
		t.Fatalf("a blob that is no artifact of the run was read: %v", err)
	}
	create := func(a *corev1.Artifact) error {
		_, err := fleet.CreateArtifact(t.Context(), &fleetv1.CreateArtifactRequest{AttemptId: "att1", Token: "sla_att1", Artifact: a})
		return err
	}
	if err := create(&corev1.Artifact{Name: "dist", Digest: resp.GetDigest(), Size: 1, JobId: "forged"}); err != nil {
		t.Fatal(err)
	}
	list, err := fleet.ListArtifacts(t.Context(), &fleetv1.ListArtifactsRequest{AttemptId: "att1", Token: "sla_att1"})
	if err != nil || len(list.GetArtifacts()) != 1 || list.GetArtifacts()[0].GetSize() != int64(len(content)) || list.GetArtifacts()[0].GetJobId() != "build" {
		t.Fatalf("%v, %v", list, err)
	}
	if got, err := get(t, conn, "sla_att1", resp.GetDigest()); err != nil || !bytes.Equal(got, content) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
	for _, bad := range []*corev1.Artifact{nil, {Name: "../x", Digest: resp.GetDigest()}, {Name: "", Digest: resp.GetDigest()}, {Name: "x", Digest: "sha256:nope"},
		{Name: "x", Digest: "sha256:" + strings.Repeat("0", 64)}, {Name: strings.Repeat("n", 256), Digest: resp.GetDigest()}} {
		if err := create(bad); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if _, err := put(t, conn, "sla_att1", make([]byte, 1<<20), make([]byte, 1<<20), []byte("x")); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest || !strings.Contains(err.Error(), "limits.blob_bytes") {
		t.Errorf("over the limit: %v", err)
	}
	if _, err := put(t, conn, "sla_guess", content); rpcerr.ReasonOf(err) != rpcerr.PermissionDenied {
		t.Errorf("a wrong token: %v", err)
	}
	if _, err := put(t, conn, ""); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
		t.Errorf("an empty upload: %v", err)
	}
}

func TestAnAttemptReadsItsSource(t *testing.T) {
	h := coordtest.New(t, coordtest.Options{})
	agent, conn := h.Agent()
	h.Control.PutRun(&apiv1.Run{Id: "run1", Number: 1})
	digest, _, err := h.Blobs.Put(t.Context(), strings.NewReader("tree"))
	if err != nil {
		t.Fatal(err)
	}
	secret, _, err := h.Blobs.Put(t.Context(), strings.NewReader("another run's"))
	if err != nil {
		t.Fatal(err)
	}
	a := attempt(agent, "att1")
	a.Ref.Source = digest
	h.Control.PutAttempt(a)
	if got, err := get(t, conn, "sla_att1", digest); err != nil || string(got) != "tree" {
		t.Fatalf("%q, %v", got, err)
	}
	for _, d := range []string{secret, "", "../../etc/passwd"} {
		if _, err := get(t, conn, "sla_att1", d); rpcerr.ReasonOf(err) != rpcerr.PermissionDenied {
			t.Errorf("%q: %v", d, err)
		}
	}
}
