package gateway_test

import (
	"errors"
	"io"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/internal/coordtest"
	"github.com/slipway-ci/slipway/internal/bytestream"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// BenchmarkLog is a log of 62 MiB from an agent's push to a follower, both over TLS.
func BenchmarkLog(b *testing.B) {
	const chunk, size = bytestream.Chunk, 2048 * bytestream.Chunk
	h := coordtest.New(b, coordtest.Options{})
	agent, conn := h.Agent()
	user := h.User("ann")
	data := make([]byte, chunk)
	for i := range data {
		data[i] = "0123456789\n"[i%11]
	}
	b.SetBytes(size)
	for n := 0; b.Loop(); n++ {
		id := "att" + string(rune('a'+n%26)) + string(rune('a'+n/26%26)) + string(rune('a'+n/676))
		a := attempt(agent, id)
		a.Ref.RunID = "run" + id
		h.Control.PutRun(&apiv1.Run{Id: a.Ref.RunID, State: corev1.RunState_RUN_STATE_RUNNING})
		h.Control.PutAttempt(a)
		got := make(chan int, 1)
		go func() {
			s, err := apiv1.NewLogServiceClient(user).StreamLogs(b.Context(), &apiv1.StreamLogsRequest{RunId: a.Ref.RunID, Follow: true})
			total := 0
			for err == nil {
				var m *apiv1.StreamLogsResponse
				if m, err = s.Recv(); err == nil {
					if total += len(m.GetData()); total == size {
						break
					}
				}
			}
			got <- total
		}()
		s, err := fleetv1.NewFleetServiceClient(conn).PushLogs(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		go func() {
			for off := 0; off < size; off += chunk {
				if s.Send(&fleetv1.PushLogsRequest{AttemptId: id, Token: a.Token, Step: 1, Offset: int64(off), Data: data, End: off+chunk == size}) != nil {
					return
				}
			}
			_ = s.CloseSend()
		}()
		for {
			if _, err := s.Recv(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				b.Fatal(err)
			}
		}
		if n := <-got; n != size {
			b.Fatalf("%d bytes", n)
		}
		h.Control.PutRun(&apiv1.Run{Id: a.Ref.RunID, State: corev1.RunState_RUN_STATE_SUCCEEDED})
	}
}
