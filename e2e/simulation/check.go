package simulation

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/coordinator/store"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// Violation is a broken promise.
type Violation struct {
	At time.Duration
	// Invariant names the promise.
	Invariant string
	Message   string
	// About are the entities concerned.
	About []string
}

// Error implements error.
func (v *Violation) Error() string {
	return fmt.Sprintf("%s, at %.3fs: %s", v.Invariant, v.At.Seconds(), v.Message)
}

// checker holds the store's contents, decoded, and judges every change of them.
type checker struct {
	l     *loop
	h     *history
	found *Violation
	// slots of every agent.
	slots map[string]int

	runs     map[string]*statev1.RunHeader
	defs     map[string]*statev1.RunDefinition
	jobs     map[string]map[string]*statev1.JobRecord // by run
	requests map[string]*statev1.RequestRecord
	numbers  map[string]string // project and number → run
	live     map[string]bool
	// groups are the holders of concurrency groups, by project and name; claims who holds one by the records.
	groups map[string]*statev1.GroupRecord
	claims map[string]map[string]bool
	// groupOf is the group of each run ("run/") and job ("run/job") that asked for one; attemptOf the job ("run/job") of every attempt.
	groupOf, attemptOf map[string]string
	// holds counts the live attempts of each agent.
	holds map[string]int
	// seqs is the highest report of each attempt that was ever stored; done are attempts stored as done.
	seqs map[string]uint64
	done map[string]bool
	// results that agents reported, by attempt.
	results map[string]corev1.Result
	// answers that clients were given, by request.
	answers map[string]answer
	waits   *waits
	// jobsEnded counts; doneAt is when everything was first seen to have ended.
	jobsEnded int
	doneAt    time.Duration
}

type answer struct {
	run    string
	number uint64
}

func newChecker(l *loop, h *history) *checker {
	c := &checker{l: l, h: h, slots: map[string]int{}, runs: map[string]*statev1.RunHeader{}, defs: map[string]*statev1.RunDefinition{},
		jobs: map[string]map[string]*statev1.JobRecord{}, requests: map[string]*statev1.RequestRecord{}, numbers: map[string]string{},
		groups: map[string]*statev1.GroupRecord{}, claims: map[string]map[string]bool{}, groupOf: map[string]string{}, attemptOf: map[string]string{}, live: map[string]bool{}, holds: map[string]int{}, seqs: map[string]uint64{}, done: map[string]bool{},
		results: map[string]corev1.Result{}, answers: map[string]answer{}}
	c.waits = newWaits(c)
	return c
}

func (c *checker) violate(invariant string, about []string, format string, args ...any) {
	if c.found == nil {
		c.found = &Violation{At: c.l.now, Invariant: invariant, Message: fmt.Sprintf(format, args...), About: about}
		c.h.add("CHECK", about, "VIOLATION of %s: %s", invariant, c.found.Message)
	}
}

const root = "/slipway/v1/"

// applied judges a transaction's branch that was done, by a leader whose fence holds or not.
func (c *checker) applied(who string, leads bool, ops []store.Op) {
	var words []string
	var about []string
	for _, op := range ops {
		// A run's project is needed to judge its header.
		if id, ok := strings.CutPrefix(op.Key, root+"def/"); ok && c.defs[id] == nil {
			c.change("def", id, op)
		}
	}
	for _, op := range ops {
		kind, rest, _ := strings.Cut(strings.TrimPrefix(op.Key, root), "/")
		if !leads && kind != "leader" {
			c.violate("only the leader writes", nil, "%s wrote %s although another term is current", who, op.Key)
		}
		word, entity := c.change(kind, rest, op)
		if word != "" {
			words = append(words, word)
		}
		if entity != "" {
			about = append(about, entity)
		}
	}
	if len(words) > 0 {
		c.h.add("store", about, "from %s: %s", who, strings.Join(words, ", "))
	}
	c.checkSlots()
	c.checkGroups(ops)
}

func (c *checker) change(kind, rest string, op store.Op) (word, entity string) {
	switch kind {
	case "run":
		next := &statev1.RunHeader{}
		c.decode(op, next)
		c.header(rest, next, op.Delete)
		return fmt.Sprintf("run %s %s", rest, short(next.GetState().String())), rest
	case "def":
		next := &statev1.RunDefinition{}
		c.decode(op, next)
		if old := c.defs[rest]; old != nil && !proto.Equal(old, next) {
			c.violate("a definition never changes", []string{rest}, "run %s is defined twice", rest)
		}
		c.defs[rest] = next
		return "definition " + rest, rest
	case "job":
		run, job, _ := strings.Cut(rest, "/")
		next := &statev1.JobRecord{}
		c.decode(op, next)
		c.job(run, job, next, op.Delete)
		return fmt.Sprintf("job %s/%s %s attempt %d %s seq %d", run, job, short(next.GetState().String()), next.GetAttempt().GetNumber(),
			short(next.GetAttempt().GetState().String()), next.GetAttempt().GetSeq()), run
	case "req":
		next := &statev1.RequestRecord{}
		c.decode(op, next)
		if old := c.requests[rest]; old != nil && old.GetRunId() != next.GetRunId() {
			c.violate("no submit is doubled", []string{old.GetRunId(), next.GetRunId()}, "request %s made run %s and run %s", rest, old.GetRunId(), next.GetRunId())
		}
		c.requests[rest] = next
	case "num":
		if old := c.numbers[rest]; old != "" && !op.Delete {
			c.violate("a number is one run's", []string{old, string(op.Value)}, "number %s is run %s and run %s", rest, old, op.Value)
		}
		c.numbers[rest] = string(op.Value)
	case "group":
		return c.group(rest, op), ""
	case "live":
		c.live[rest] = !op.Delete
		if op.Delete {
			delete(c.live, rest)
		}
	}
	return "", ""
}

func (c *checker) decode(op store.Op, m proto.Message) {
	if op.Delete {
		return
	}
	if err := proto.Unmarshal(op.Value, m); err != nil {
		c.violate("records can be read", nil, "%s: %v", op.Key, err)
	}
}

func short(enum string) string {
	if i := strings.LastIndex(enum, "STATE_"); i >= 0 {
		return strings.ToLower(enum[i+len("STATE_"):])
	}
	return enum
}

func (c *checker) header(id string, next *statev1.RunHeader, deleted bool) {
	old := c.runs[id]
	about := []string{id}
	switch {
	case deleted && old != nil && !lifecycle.Run.IsTerminal(old.GetState()):
		c.violate("no accepted run is lost", about, "run %s was deleted in state %s", id, old.GetState())
	case deleted:
		delete(c.runs, id)
		return
	case old != nil && lifecycle.Run.IsTerminal(old.GetState()) && old.GetState() != next.GetState():
		c.violate("terminal is final", about, "run %s went from %s to %s", id, old.GetState(), next.GetState())
	case old != nil && next.GetState() < old.GetState():
		c.violate("states never decrease", about, "run %s went from %s to %s", id, old.GetState(), next.GetState())
	case old != nil && old.GetCancelRequested() && !next.GetCancelRequested():
		c.violate("a cancel is not forgotten", about, "run %s", id)
	case old != nil && old.GetNumber() != next.GetNumber():
		c.violate("a number is one run's", about, "run %s was #%d and is #%d", id, old.GetNumber(), next.GetNumber())
	}
	c.claim(id, "", next.GetHold(), next.GetState() > corev1.RunState_RUN_STATE_WAITING && next.GetState() < corev1.RunState_RUN_STATE_CANCELLING)
	c.runs[id] = next
}

func (c *checker) job(run, id string, next *statev1.JobRecord, deleted bool) {
	records := c.jobs[run]
	if records == nil {
		records = map[string]*statev1.JobRecord{}
		c.jobs[run] = records
	}
	old := records[id]
	c.count(old, -1)
	if deleted {
		if old != nil && old.GetState() > corev1.JobState_JOB_STATE_BLOCKED && !lifecycle.Job.IsTerminal(old.GetState()) {
			c.violate("no job is lost", []string{run}, "job %s/%s was deleted in state %s", run, id, old.GetState())
		}
		delete(records, id)
		return
	}
	if next.GetKeptFrom() != "" {
		c.kept(run, id, next)
		records[id] = next
		return
	}
	c.count(next, +1)
	c.judgeJob(run, id, old, next)
	c.waits.changed(run, id, old, next)
	c.claim(run, id, next.GetHold(), next.GetState() > corev1.JobState_JOB_STATE_WAITING && !lifecycle.Job.IsTerminal(next.GetState()))
	records[id] = next
	if a := next.GetAttempt(); a != nil {
		c.h.relate(a.GetId(), run)
		c.attemptOf[a.GetId()] = run + "/" + id
		c.seqs[a.GetId()] = max(c.seqs[a.GetId()], a.GetSeq())
		c.done[a.GetId()] = c.done[a.GetId()] || a.GetState() == corev1.AttemptState_ATTEMPT_STATE_DONE
	}
}

// kept holds a result that a rerun keeps against the one that it is.
func (c *checker) kept(run, id string, next *statev1.JobRecord) {
	from := c.jobs[next.GetKeptFrom()][id]
	same := from != nil && lifecycle.Job.IsTerminal(from.GetState()) && from.GetState() == next.GetState() && from.GetAttempt().GetId() == next.GetAttempt().GetId() &&
		slices.EqualFunc(from.GetOutputs(), next.GetOutputs(), func(a, b *corev1.Output) bool { return proto.Equal(a, b) })
	if !same {
		c.violate("a kept result is the one that was", []string{run, next.GetKeptFrom()}, "job %s of run %s keeps %s of run %s, which has it as %s", id, run,
			short(next.GetState().String()), next.GetKeptFrom(), short(from.GetState().String()))
	}
}

func (c *checker) judgeJob(run, id string, old, next *statev1.JobRecord) {
	a, b := old.GetAttempt(), next.GetAttempt()
	about := []string{run, b.GetId()}
	name := run + "/" + id
	same := a.GetNumber() == b.GetNumber()
	retried := same && next.GetState() == corev1.JobState_JOB_STATE_QUEUED && lifecycle.Attempt.IsTerminal(b.GetState())
	switch {
	case old == nil:
	case lifecycle.Job.IsTerminal(old.GetState()) && (old.GetState() != next.GetState() || a.GetId() != b.GetId()):
		c.violate("terminal is final", about, "job %s went from %s of attempt %d to %s of attempt %d", name, old.GetState(), a.GetNumber(), next.GetState(), b.GetNumber())
	case b.GetNumber() < a.GetNumber() || b.GetNumber() > a.GetNumber()+1:
		c.violate("attempts follow each other", about, "job %s went from attempt %d to %d", name, a.GetNumber(), b.GetNumber())
	case !same && a != nil && !lifecycle.Attempt.IsTerminal(a.GetState()):
		c.violate("one attempt at a time", about, "job %s has attempt %d although attempt %d is %s", name, b.GetNumber(), a.GetNumber(), a.GetState())
	case same && a.GetId() != b.GetId():
		c.violate("one attempt at a time", about, "job %s has two attempts %d: %s and %s", name, a.GetNumber(), a.GetId(), b.GetId())
	case same && b.GetState() < a.GetState():
		c.violate("states never decrease", about, "attempt %s of job %s went from %s to %s", b.GetId(), name, a.GetState(), b.GetState())
	case same && lifecycle.Attempt.IsTerminal(a.GetState()) && a.GetState() != b.GetState():
		c.violate("terminal is final", about, "attempt %s of job %s went from %s to %s", b.GetId(), name, a.GetState(), b.GetState())
	case same && b.GetSeq() < a.GetSeq():
		c.violate("states never decrease", about, "attempt %s of job %s went from report %d to %d", b.GetId(), name, a.GetSeq(), b.GetSeq())
	case same && next.GetState() < old.GetState() && !retried:
		c.violate("states never decrease", about, "job %s went from %s to %s in attempt %d", name, old.GetState(), next.GetState(), b.GetNumber())
	}
	if lifecycle.Job.IsTerminal(next.GetState()) && (old == nil || !lifecycle.Job.IsTerminal(old.GetState())) {
		c.jobsEnded++
		c.accepted(name, next, about)
	}
}

// accepted judges the result that a job ends with.
func (c *checker) accepted(name string, next *statev1.JobRecord, about []string) {
	a := next.GetAttempt()
	switch {
	case a != nil && !lifecycle.Attempt.IsTerminal(a.GetState()):
		c.violate("a job ends after its attempt", about, "job %s is %s, its attempt %s", name, next.GetState(), a.GetState())
	case next.GetState() != corev1.JobState_JOB_STATE_SUCCEEDED:
	case a == nil: // a call: its end follows from its workflow's jobs
	case a.GetState() != corev1.AttemptState_ATTEMPT_STATE_DONE:
		c.violate("a result is an attempt's", about, "job %s succeeded, its attempt is %s", name, a.GetState())
	case c.results[a.GetId()] != corev1.Result_RESULT_SUCCESS:
		c.violate("a result is an attempt's", about, "job %s succeeded, attempt %s reported %s", name, a.GetId(), c.results[a.GetId()])
	}
}

// count keeps what agents hold.
func (c *checker) count(rec *statev1.JobRecord, by int) {
	a := rec.GetAttempt()
	if a == nil || lifecycle.Attempt.IsTerminal(a.GetState()) {
		return
	}
	c.holds[a.GetAgentId()] += by
}

func (c *checker) checkSlots() {
	for agent, n := range c.holds {
		if n > c.slots[agent] {
			c.violate("no slot is booked twice", []string{agent}, "agent %s has %d slots and %d live attempts", agent, c.slots[agent], n)
		}
	}
}

// acked judges an acknowledgement that leaves the coordinator.
func (c *checker) acked(attempt string, seq uint64) {
	if c.seqs[attempt] < seq && !c.done[attempt] {
		c.violate("what is acknowledged is stored", []string{attempt}, "report %d of attempt %s is acknowledged; the store has %d", seq, attempt, c.seqs[attempt])
	}
}

// submitted judges the answer that a client is given.
func (c *checker) submitted(request, run string, number uint64) {
	about := []string{run}
	rec := c.requests[request]
	switch prev, again := c.answers[request]; {
	case rec == nil || c.runs[run] == nil || c.defs[run] == nil:
		c.violate("what a client was told is stored", about, "request %s was answered with run %s, which the store does not have", request, run)
	case rec.GetRunId() != run || rec.GetRunNumber() != number:
		c.violate("what a client was told is stored", about, "request %s was answered with run %s #%d, the store says %s #%d", request, run, number, rec.GetRunId(), rec.GetRunNumber())
	case again && (prev.run != run || prev.number != number):
		c.violate("no submit is doubled", about, "request %s was answered with run %s and with run %s", request, prev.run, run)
	}
	c.answers[request] = answer{run, number}
}

// cancelled judges the answer to a cancel.
func (c *checker) cancelled(run string) {
	head := c.runs[run]
	if head == nil || !head.GetCancelRequested() && !lifecycle.Run.IsTerminal(head.GetState()) {
		c.violate("what a client was told is stored", []string{run}, "a cancel of run %s was answered; the store has it as %s", run, head.GetState())
	}
}
