package simulation

import (
	"fmt"
	"net/url"
	"strings"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/coordinator/store"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// group follows who holds a concurrency group by its key.
func (c *checker) group(name string, op store.Op) (word string) {
	if op.Delete {
		return "group " + name + " is left"
	}
	next := &statev1.GroupRecord{}
	c.decode(op, next)
	if old := c.groups[name]; old != nil {
		c.violate("a group has one holder", []string{old.GetRunId(), next.GetRunId()}, "group %s goes from %s/%s to %s/%s", name, old.GetRunId(), old.GetJobId(),
			next.GetRunId(), next.GetJobId())
	}
	c.groups[name] = next
	return fmt.Sprintf("group %s is held by %s/%s", name, next.GetRunId(), next.GetJobId())
}

// claim follows who holds a concurrency group by the records of runs and jobs.
func (c *checker) claim(run, job string, hold *statev1.Hold, holds bool) {
	if hold == nil {
		return
	}
	name := url.PathEscape(c.defs[run].GetProject()) + "/" + url.PathEscape(strings.ToLower(hold.GetGroup()))
	if c.claims[name] == nil {
		c.claims[name] = map[string]bool{}
	}
	c.groupOf[run+"/"+job] = name
	if !holds {
		delete(c.claims[name], run+"/"+job)
		return
	}
	c.claims[name][run+"/"+job] = true
}

// checkGroups: a group is left only by who has ended, and never held by two.
func (c *checker) checkGroups(ops []store.Op) {
	for _, op := range ops {
		name, ok := strings.CutPrefix(op.Key, root+"group/")
		if !ok || !op.Delete {
			continue
		}
		if g := c.groups[name]; g != nil && !c.claimEnded(g) {
			c.violate("a group has one holder", []string{g.GetRunId()}, "group %s is left although %s/%s lives", name, g.GetRunId(), g.GetJobId())
		}
		delete(c.groups, name)
	}
	for _, name := range sortedKeys(c.claims) {
		if len(c.claims[name]) > 1 {
			c.violate("a group has one holder", sortedKeys(c.claims[name]), "group %s is held by %s", name, strings.Join(sortedKeys(c.claims[name]), " and "))
		}
	}
}

func (c *checker) claimEnded(g *statev1.GroupRecord) bool {
	if g.GetJobId() != "" {
		rec := c.jobs[g.GetRunId()][g.GetJobId()]
		return rec == nil || lifecycle.Job.IsTerminal(rec.GetState())
	}
	head := c.runs[g.GetRunId()]
	return head == nil || lifecycle.Run.IsTerminal(head.GetState())
}

// exclusive names the group on whose behalf an attempt runs, and who holds it: the run, or the job. "" without one.
func (c *checker) exclusive(attempt string) (group, holder string) {
	job, ok := c.attemptOf[attempt]
	if !ok {
		return "", ""
	}
	run, _, _ := strings.Cut(job, "/")
	for _, holder := range []string{run + "/", job} {
		if group := c.groupOf[holder]; group != "" {
			return group, holder
		}
	}
	return "", ""
}

// stepStarts: what runs for one holder of a group ends before anything runs for the next one, whoever is cut off from whom. The jobs of a run
// that holds a group run side by side, but no two attempts of one.
func (c *checker) stepStarts(attempt string, running []string) {
	group, holder := c.exclusive(attempt)
	if group == "" {
		return
	}
	for _, other := range running {
		if g, h := c.exclusive(other); g == group && (h != holder || c.attemptOf[other] == c.attemptOf[attempt] && other != attempt) {
			c.violate("holders of a group never run at once", []string{attempt, other}, "a step of attempt %s (%s) starts while one of attempt %s (%s) runs; both in group %s", attempt,
				c.attemptOf[attempt], other, c.attemptOf[other], group)
		}
	}
}
