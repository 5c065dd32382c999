package lifecycle

import (
	"errors"

	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// JobEvict: its agent is to be emptied, so its attempt is to end in order. The job goes on: what becomes of it is decided when the attempt has
// ended. A call has no attempt, and nothing to evict.
const JobEvict Event = "evict"

var (
	errNothingToEvict = errors.New("it has no attempt")
	errEvicted        = errors.New("its attempt was evicted already")
)

func mayEvict(r *statev1.JobRecord, _ JobArgs) error {
	switch {
	case r.GetAttempt() == nil:
		return errNothingToEvict
	case r.GetAttempt().GetEvicted() != "":
		return errEvicted
	}
	return nil
}

func evictJob(r *statev1.JobRecord, a JobArgs) { r.Attempt.Evicted, r.Reason = a.Reason, a.Reason }
