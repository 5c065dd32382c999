package engine

import (
	"errors"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/coordinator/store"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// stage is one transition of a draft.
type stage struct {
	ops    []store.Op
	header *statev1.RunHeader
	jobs   []stagedJob
	bytes  int
	extra  []store.Compare
	groups []groupOp
	r      *run
}

type stagedJob struct {
	id  string
	rec *statev1.JobRecord
}

type storedJob struct {
	stagedJob
	rev int64
}

// compares are made when the stage is proposed: an earlier stage may have written the header.
func (s *stage) compares() []store.Compare {
	out := append([]store.Compare(nil), s.extra...)
	if s.header != nil {
		out = append(out, store.Compare{Key: runKey(s.r.id), Revision: s.r.headerRev})
	}
	for _, j := range s.jobs {
		var rev int64
		if e := s.r.jobs[j.id]; e != nil {
			rev = e.rev
		}
		out = append(out, store.Compare{Key: jobKey(s.r.id, j.id), Revision: rev})
	}
	for _, op := range s.groups {
		// Whoever takes a group compares that nobody has it.
		c := store.Compare{Key: op.g.key}
		if op.release {
			c.Revision = op.g.rev
		}
		out = append(out, c)
	}
	return out
}

// stageJobs and stageBytes bound the job records of one transition. One record alone may have more bytes.
const stageJobs, stageBytes = 40, 128 << 10

// stages splits the draft. A header that tells of an intent (created, cancel) goes first, one that ends the run last, so that a leader that finds
// some of the stages only can go on from there.
func (d *draft) stages() ([]stage, error) {
	if d.header == nil && len(d.touched) == 0 {
		return nil, nil
	}
	id := d.e.c.NewID()
	var out []stage
	for _, job := range d.touched {
		if n := len(out); n == 0 || len(out[n-1].jobs) == stageJobs || out[n-1].bytes >= stageBytes {
			out = append(out, stage{r: d.r})
		}
		s := &out[len(out)-1]
		if err := s.addJob(d.jobs[job], job, id); err != nil {
			return nil, err
		}
		s.addGroup(d.groups, job)
	}
	if d.header == nil {
		if d.r.terminal() && !d.occupied() {
			// The last that was held of a run that has ended.
			last := &out[len(out)-1]
			last.ops = append(last.ops, store.Op{Key: liveKey(d.r.id), Delete: true})
		}
		return out, nil
	}
	return d.stageHeader(out, id)
}

func (d *draft) stageHeader(out []stage, id string) ([]stage, error) {
	d.header.TransitionId = id
	terminal := lifecycle.Run.IsTerminal(d.header.GetState())
	atEnd := terminal || d.r.header.GetState() == corev1.RunState_RUN_STATE_CREATING
	// A large header (it has the run's artifacts) gets a stage of its own.
	alone := proto.Size(d.header) > stageBytes
	switch {
	case len(out) == 0, alone && atEnd:
		out = append(out, stage{r: d.r})
	case alone:
		out = append([]stage{{r: d.r}}, out...)
	}
	first, last := &out[0], &out[len(out)-1]
	first.ops, first.extra = append(first.ops, d.extra...), d.extraCompares
	several := len(out) > 1
	var err error
	if d.create && several {
		creating := proto.CloneOf(d.header)
		creating.State = corev1.RunState_RUN_STATE_CREATING
		err = first.setHeader(creating)
	}
	final := first
	if atEnd {
		final = last
	}
	err = errors.Join(err, final.setHeader(d.header))
	final.addGroup(d.groups, "")
	if d.create && (!terminal || several) {
		first.ops = append(first.ops, store.Op{Key: liveKey(d.r.id)})
	}
	if terminal && (!d.create || several) && !d.occupied() {
		last.ops = append(last.ops, store.Op{Key: liveKey(d.r.id), Delete: true})
	}
	return out, err
}

func (s *stage) setHeader(h *statev1.RunHeader) error {
	b, err := encode(h)
	s.header = h
	s.ops = append([]store.Op{{Key: runKey(s.r.id), Value: b}}, s.ops...)
	return err
}

// addGroup lets the transition of a job's record, or of the header (""), take or release its concurrency group.
func (s *stage) addGroup(groups map[string]groupOp, owner string) {
	op, ok := groups[owner]
	if !ok {
		return
	}
	s.groups = append(s.groups, op)
	s.ops = append(s.ops, store.Op{Key: op.g.key, Value: op.value, Delete: op.release})
}

func (s *stage) addJob(rec *statev1.JobRecord, id, transition string) error {
	s.jobs = append(s.jobs, stagedJob{id: id, rec: rec})
	if rec == nil {
		s.ops = append(s.ops, store.Op{Key: jobKey(s.r.id, id), Delete: true})
		return nil
	}
	rec.TransitionId = transition
	b, err := encode(rec)
	s.bytes += len(b)
	s.ops = append(s.ops, store.Op{Key: jobKey(s.r.id, id), Value: b})
	return err
}

func encode(m proto.Message) ([]byte, error) {
	return proto.MarshalOptions{Deterministic: true}.Marshal(m)
}
