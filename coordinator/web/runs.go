package web

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"

	"github.com/slipway-ci/slipway/internal/rpcerr"
)

// perPage runs are listed at once.
const perPage = 40

// choice is one of the states that a list can be narrowed to.
type choice struct {
	Word   string
	Chosen bool
	states []corev1.RunState
}

func choices(chosen string) ([]choice, error) {
	all := []choice{
		{Word: "live", states: []corev1.RunState{corev1.RunState_RUN_STATE_CREATING, corev1.RunState_RUN_STATE_WAITING, corev1.RunState_RUN_STATE_QUEUED,
			corev1.RunState_RUN_STATE_RUNNING, corev1.RunState_RUN_STATE_CANCELLING, corev1.RunState_RUN_STATE_FINISHING}},
		{Word: "succeeded", states: []corev1.RunState{corev1.RunState_RUN_STATE_SUCCEEDED}},
		{Word: "failed", states: []corev1.RunState{corev1.RunState_RUN_STATE_FAILED}},
		{Word: "cancelled", states: []corev1.RunState{corev1.RunState_RUN_STATE_CANCELLED}},
		{Word: "skipped", states: []corev1.RunState{corev1.RunState_RUN_STATE_SKIPPED}},
	}
	at := slices.IndexFunc(all, func(c choice) bool { return c.Word == chosen })
	if chosen != "" && at < 0 {
		return nil, rpcerr.New(rpcerr.InvalidRequest, "status %.32q: want live, succeeded, failed, cancelled or skipped", chosen)
	}
	if at >= 0 {
		all[at].Chosen = true
	}
	return all, nil
}

type runList struct {
	User                    string
	Pipeline, Branch, Actor string
	Choices                 []choice
	Filtered                bool
	Rows                    []runRow
	Older, Newest           string
}

type runRow struct {
	look
	Name, Number, Href, Source, Actor string
	Took                              span
	Created                           instant
}

func (s *site) runList(w http.ResponseWriter, r *http.Request, v visitor) error {
	q := r.URL.Query()
	view := runList{User: v.Name, Pipeline: q.Get("pipeline"), Branch: q.Get("branch"), Actor: q.Get("actor")}
	req := &apiv1.ListRunsRequest{Limit: perPage, Pipeline: view.Pipeline, Branch: view.Branch, Actor: view.Actor, Project: q.Get("project"), Page: q.Get("page")}
	var err error
	if view.Choices, err = choices(q.Get("status")); err != nil {
		return err
	}
	for _, c := range view.Choices {
		if c.Chosen {
			req.States = c.states
		}
	}
	resp, err := s.Runs.ListRuns(r.Context(), req)
	if err != nil {
		return err
	}
	now := s.Clock.Now()
	for _, run := range resp.GetRuns() {
		view.Rows = append(view.Rows, rowOf(run, now))
	}
	link := func(page string) string {
		to := url.Values{}
		for _, key := range []string{"project", "pipeline", "branch", "actor", "status"} {
			if value := q.Get(key); value != "" {
				to.Set(key, value)
			}
		}
		view.Filtered = len(to) > 0
		if page != "" {
			to.Set("page", page)
		}
		return "/?" + to.Encode()
	}
	newest := link("")
	if next := resp.GetNextPage(); next != "" {
		view.Older = link(next)
	}
	if req.GetPage() != "" {
		view.Newest = newest
	}
	s.show(w, r, http.StatusOK, "runs", view)
	return nil
}

func rowOf(run *apiv1.Run, now time.Time) runRow {
	return runRow{look: runLook(run), Name: run.GetName(), Number: numberOf(run), Href: runPath(run.GetId()), Source: tui.Describe(run), Actor: run.GetActor(),
		Took: spanOf(run.GetCreatedMs(), run.GetEndedMs(), now), Created: instantOf(run.GetCreatedMs(), now)}
}

// attemptLink leads to another attempt of the same run.
type attemptLink struct {
	Text, Href string
	Current    bool
}

// attemptsOf are the run's attempts up to this one, and after it the newest, if there is one.
func attemptsOf(run, newest *apiv1.Run) []attemptLink {
	var out []attemptLink
	if newest.GetId() == "" {
		newest = run
	}
	ids := append(slices.Clone(newest.GetEarlier()), newest.GetId())
	if len(ids) < 2 {
		return nil
	}
	for i, id := range ids {
		out = append(out, attemptLink{Text: fmt.Sprint(i + 1), Href: runPath(id), Current: id == run.GetId()})
	}
	return out
}
