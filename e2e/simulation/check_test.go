package simulation

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/store"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

func op(t *testing.T, key string, m proto.Message) store.Op {
	t.Helper()
	b, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return store.Op{Key: root + key, Value: b}
}

func jobRecord(id string, state corev1.JobState, a *statev1.Attempt) *statev1.JobRecord {
	return &statev1.JobRecord{RunId: "r", Id: id, State: state, Attempt: a}
}

func attempt(id string, number uint32, state corev1.AttemptState) *statev1.Attempt {
	return &statev1.Attempt{Id: id, Number: number, State: state, AgentId: "a1", Seq: 1}
}

const (
	queued    = corev1.JobState_JOB_STATE_QUEUED
	assigned  = corev1.JobState_JOB_STATE_ASSIGNED
	running   = corev1.JobState_JOB_STATE_RUNNING
	succeeded = corev1.JobState_JOB_STATE_SUCCEEDED
	failed    = corev1.JobState_JOB_STATE_FAILED
	offered   = corev1.AttemptState_ATTEMPT_STATE_OFFERED
	runs      = corev1.AttemptState_ATTEMPT_STATE_RUNNING
	doneState = corev1.AttemptState_ATTEMPT_STATE_DONE
	lost      = corev1.AttemptState_ATTEMPT_STATE_LOST
)

// TestCheckerSees: each broken promise is seen, and a good history is none.
func TestCheckerSees(t *testing.T) {
	job := func(id string, s corev1.JobState, a *statev1.Attempt) store.Op {
		return op(t, "job/r/"+id, jobRecord(id, s, a))
	}
	head := func(s corev1.RunState) store.Op {
		return op(t, "run/r", &statev1.RunHeader{Id: "r", Number: 1, State: s, Hold: &statev1.Hold{Group: "g"}})
	}
	for _, tt := range []struct {
		name, want string
		history    [][]store.Op
		then       func(*checker)
	}{
		{"a good history", "", [][]store.Op{{op(t, "def/r", &statev1.RunDefinition{Id: "r"}), head(corev1.RunState_RUN_STATE_QUEUED), job("a", queued, nil)},
			{job("a", assigned, attempt("x", 1, offered))}, {job("a", queued, attempt("x", 1, lost))}, {job("a", running, attempt("y", 2, runs))},
			{job("a", succeeded, attempt("y", 2, doneState))}}, func(c *checker) { c.acked("y", 1) }},
		{"a request is doubled", "no submit is doubled", [][]store.Op{{op(t, "req/q", &statev1.RequestRecord{RunId: "r"})}, {op(t, "req/q", &statev1.RequestRecord{RunId: "s"})}}, nil},
		{"a number is doubled", "a number is one run's", [][]store.Op{{{Key: root + "num/p/1", Value: []byte("r")}}, {{Key: root + "num/p/1", Value: []byte("s")}}}, nil},
		{"a run goes back", "states never decrease", [][]store.Op{{head(corev1.RunState_RUN_STATE_RUNNING)}, {head(corev1.RunState_RUN_STATE_QUEUED)}}, nil},
		{"a run rises from the dead", "terminal is final", [][]store.Op{{head(corev1.RunState_RUN_STATE_FAILED)}, {head(corev1.RunState_RUN_STATE_CANCELLED)}}, nil},
		{"a live run is deleted", "no accepted run is lost", [][]store.Op{{head(corev1.RunState_RUN_STATE_RUNNING)}, {{Key: root + "run/r", Delete: true}}}, nil},
		{"a second result", "terminal is final", [][]store.Op{{job("a", failed, attempt("x", 1, doneState))}, {job("a", succeeded, attempt("y", 2, doneState))}}, nil},
		{"two attempts at once", "one attempt at a time", [][]store.Op{{job("a", assigned, attempt("x", 1, runs))}, {job("a", assigned, attempt("y", 2, offered))}}, nil},
		{"two attempts of one number", "one attempt at a time", [][]store.Op{{job("a", assigned, attempt("x", 1, runs))}, {job("a", assigned, attempt("y", 1, runs))}}, nil},
		{"an attempt goes back", "states never decrease", [][]store.Op{{job("a", running, attempt("x", 1, runs))}, {job("a", running, attempt("x", 1, offered))}}, nil},
		{"a result that nobody reported", "a result is an attempt's", [][]store.Op{{job("a", running, attempt("x", 1, runs))}, {job("a", succeeded, attempt("x", 1, doneState))}},
			func(c *checker) {}},
		{"a slot is booked twice", "no slot is booked twice", [][]store.Op{{job("a", running, attempt("x", 1, runs)), job("b", running, attempt("y", 1, runs)), job("c", running, attempt("z", 1, runs))}}, nil},
		{"a group has two holders", "a group has one holder", [][]store.Op{{op(t, "group/p/g", &statev1.GroupRecord{RunId: "r"})}, {op(t, "group/p/g", &statev1.GroupRecord{RunId: "s"})}}, nil},
		{"a group is left by one that lives", "a group has one holder", [][]store.Op{{head(corev1.RunState_RUN_STATE_RUNNING), op(t, "group/p/g", &statev1.GroupRecord{RunId: "r"})},
			{{Key: root + "group/p/g", Delete: true}}}, nil},
		{"an acknowledgement of nothing", "what is acknowledged is stored", [][]store.Op{{job("a", running, attempt("x", 1, runs))}}, func(c *checker) { c.acked("x", 2) }},
		{"an answer of nothing", "what a client was told is stored", nil, func(c *checker) { c.submitted("q", "r", 1) }},
		{"a cancel of nothing", "what a client was told is stored", [][]store.Op{{head(corev1.RunState_RUN_STATE_RUNNING)}}, func(c *checker) { c.cancelled("r") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLoop(1)
			c := newChecker(l, &history{l: l, kin: map[string]string{}})
			c.slots["a1"] = 2
			if !strings.Contains(tt.name, "nobody reported") {
				c.results["y"] = corev1.Result_RESULT_SUCCESS
			}
			for _, ops := range tt.history {
				c.applied("c1", true, ops)
			}
			if tt.then != nil {
				tt.then(c)
			}
			switch {
			case tt.want == "" && c.found != nil:
				t.Fatal(c.found)
			case tt.want != "" && (c.found == nil || c.found.Invariant != tt.want):
				t.Fatalf("found %v, want %s", c.found, tt.want)
			}
		})
	}
}

func TestWritesOfAFormerLeaderAreSeen(t *testing.T) {
	l := newLoop(1)
	c := newChecker(l, &history{l: l, kin: map[string]string{}})
	c.applied("c1", false, []store.Op{op(t, "run/r", &statev1.RunHeader{Id: "r"})})
	if c.found == nil || c.found.Invariant != "only the leader writes" {
		t.Fatal(c.found)
	}
}

// TestOvertakingIsSeen: a project without anything that runs waits while another one is given agent after agent.
func TestOvertakingIsSeen(t *testing.T) {
	l := newLoop(1)
	c := newChecker(l, &history{l: l, kin: map[string]string{}})
	c.slots["a1"], c.waits.calm = 2, true
	c.applied("c1", true, []store.Op{op(t, "def/poor", &statev1.RunDefinition{Project: "poor"}), op(t, "def/rich", &statev1.RunDefinition{Project: "rich"}),
		op(t, "job/poor/a", jobRecord("a", queued, nil)), op(t, "job/rich/0", jobRecord("0", running, attempt("x0", 1, runs)))})
	for i, id := range []string{"1", "2", "3"} {
		if c.found != nil {
			t.Fatalf("after %d: %v", i, c.found)
		}
		c.applied("c1", true, []store.Op{op(t, "job/rich/"+id, jobRecord(id, running, attempt("x"+id, 1, runs)))})
		c.applied("c1", true, []store.Op{op(t, "job/rich/"+id, jobRecord(id, failed, attempt("x"+id, 1, doneState)))})
	}
	if c.found == nil || c.found.Invariant != "projects share" {
		t.Fatal(c.found)
	}
}

func TestPodsThatStayAreSeen(t *testing.T) {
	l := newLoop(1)
	c := newChecker(l, &history{l: l, kin: map[string]string{}})
	c.waits.ended["x"] = time.Second
	h := &host{name: "a1", pods: map[string]*simPod{"x": {}}}
	l.now = podGrace
	c.waits.left(h, 0)
	if c.found != nil {
		t.Fatal(c.found)
	}
	l.now += 2 * time.Second
	c.waits.left(h, 0)
	if c.found == nil || c.found.Invariant != "nothing is left of an ended job" {
		t.Fatal(c.found)
	}
}
