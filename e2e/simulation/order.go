package simulation

import (
	"cmp"
	"slices"
	"strings"

	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// orderRequests: answers to offers first, of each attempt the newest report, then the rest.
func orderRequests(out []*fleetv1.SessionRequest) []*fleetv1.SessionRequest {
	if len(out) == 1 {
		return out
	}
	newest := map[string]uint64{}
	for _, m := range out {
		if r := m.GetReport(); r != nil {
			newest[r.GetAttemptId()] = max(newest[r.GetAttemptId()], r.GetSeq())
		}
	}
	out = slices.DeleteFunc(out, func(m *fleetv1.SessionRequest) bool {
		r := m.GetReport()
		return r != nil && r.GetSeq() < newest[r.GetAttemptId()]
	})
	rank := func(m *fleetv1.SessionRequest) (int, string) {
		switch {
		case m.GetHello() != nil:
			return 0, ""
		case m.GetOfferReply() != nil:
			return 1, m.GetOfferReply().GetAttemptId()
		case m.GetReport() != nil:
			return 2, m.GetReport().GetAttemptId()
		}
		return 3, ""
	}
	slices.SortStableFunc(out, func(x, y *fleetv1.SessionRequest) int {
		rx, kx := rank(x)
		ry, ky := rank(y)
		return cmp.Or(rx-ry, strings.Compare(kx, ky))
	})
	return out
}

// orderResponses: the engine's messages in its order, then kills and acknowledgements by attempt.
func orderResponses(out []*fleetv1.SessionResponse) []*fleetv1.SessionResponse {
	if len(out) < 2 {
		return out
	}
	rank := func(m *fleetv1.SessionResponse) (int, string, uint64) {
		switch {
		case m.GetKill() != nil:
			return 1, m.GetKill().GetAttemptId() + m.GetKill().GetReason(), 0
		case m.GetReportAck() != nil:
			return 2, m.GetReportAck().GetAttemptId(), m.GetReportAck().GetSeq()
		}
		return 0, "", 0
	}
	slices.SortStableFunc(out, func(x, y *fleetv1.SessionResponse) int {
		rx, kx, sx := rank(x)
		ry, ky, sy := rank(y)
		return cmp.Or(rx-ry, strings.Compare(kx, ky), cmp.Compare(sx, sy))
	})
	return out
}
