package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ci/slipway/coordinator/web/logview"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// windowBytes of a log are loaded at once when its reader asks for what comes earlier.
const windowBytes = 128 << 10

// piece is what was read of one log.
type piece struct {
	from int64
	data []byte
}

// fillLogs shows the end of each step's log, and makes steps of logs that nobody has reported yet.
func (s *site) fillLogs(ctx context.Context, run *apiv1.Run, j *apiv1.Job, attempt string, view *jobView) error {
	if attempt == "" {
		return nil
	}
	each := min(max(pageBytes/max(len(view.Steps), len(j.GetSteps()), 1), leastOfStep), mostOfStep)
	pieces := map[uint32]*piece{}
	err := s.readLogs(ctx, &apiv1.StreamLogsRequest{RunId: run.GetId(), JobId: j.GetId(), AttemptId: attempt, Tail: int64(each)}, func(m *apiv1.StreamLogsResponse) error {
		p := pieces[m.GetStep()]
		if p == nil {
			if len(pieces) == maxStepsOpen {
				return errEnough
			}
			p = &piece{from: m.GetOffset()}
			pieces[m.GetStep()] = p
		}
		p.data = append(p.data, m.GetData()...)
		return nil
	})
	if rpcerr.ReasonOf(err) == rpcerr.NotFound {
		view.Gone = rpcerr.Message(err)
	} else if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	known := map[uint32]bool{}
	for _, st := range view.Steps {
		known[st.Number] = true
	}
	names := map[uint32]string{}
	for _, st := range j.GetSteps() {
		names[st.GetNumber()] = st.GetName()
	}
	for number := range pieces {
		if !known[number] {
			view.Steps = append(view.Steps, stepView{look: look{Class: "none"}, Number: number, Name: stepName(names, number), Open: view.Head.Earlier})
		}
	}
	slices.SortFunc(view.Steps, func(a, b stepView) int { return int(a.Number) - int(b.Number) })
	for i := range view.Steps {
		st := &view.Steps[i]
		at := where{run: run.GetId(), job: j.GetId(), attempt: attempt, step: st.Number}
		st.Raw = at.raw()
		if p := pieces[st.Number]; p != nil {
			st.Log = at.part(*p, view.Live)
		}
	}
	return nil
}

func stepName(names map[uint32]string, number uint32) string {
	if name := names[number]; name != "" {
		return name
	}
	if number == 0 {
		return "Set up job"
	}
	return fmt.Sprintf("Step %d", number)
}

// where is a step's log.
type where struct {
	run, job, attempt string
	step              uint32
}

func (a where) query() url.Values {
	return url.Values{"attempt": {a.attempt}, "step": {strconv.FormatUint(uint64(a.step), 10)}}
}

func (a where) raw() string { return jobPath(a.run, a.job) + "/raw?" + a.query().Encode() }

// before is the page of what comes before an offset.
func (a where) before(offset int64) string {
	q := a.query()
	q.Set("before", strconv.FormatInt(offset, 10))
	return jobPath(a.run, a.job) + "/log?" + q.Encode()
}

// part shows a piece from its first whole line on. A log that grows is shown up to its last whole line: the rest comes with what completes it.
func (a where) part(p piece, grows bool) logPart {
	if p.from > 0 {
		// Without a line's end in it, the piece is within one long line.
		if end := bytes.IndexByte(p.data, '\n'); end >= 0 && end+1 < len(p.data) {
			p.from += int64(end) + 1
			p.data = p.data[end+1:]
		}
	}
	var r logview.Renderer
	lines := r.Write(p.data)
	out := logPart{From: p.from, To: p.from + int64(len(p.data))}
	if grows {
		out.To -= int64(r.Pending())
	} else {
		lines = append(lines, r.Close()...)
	}
	out.Lines = writeLines(lines, grows)
	if p.from > 0 {
		out.Earlier, out.EarlierSize = a.before(p.from), size(p.from)
	}
	return out
}

var lineClasses = map[logview.Kind]string{logview.Error: " e", logview.Warning: " w", logview.Notice: " n", logview.Debug: " d"}

// words that stand before a message: its colour is not for everybody.
var lineWords = map[logview.Kind]string{logview.Error: "Error: ", logview.Warning: "Warning: ", logview.Notice: "Notice: ", logview.Debug: "Debug: "}

// lineHTML is one line that is not about groups.
func lineHTML(l logview.Line) string {
	return `<div class="ln` + lineClasses[l.Kind] + `">` + lineWords[l.Kind] + string(l.HTML) + "</div>"
}

// writeLines folds groups. One that has not ended stays open if the log grows.
func writeLines(lines []logview.Line, grows bool) template.HTML {
	var b strings.Builder
	for i := 0; i < len(lines); i++ {
		switch l := lines[i]; l.Kind {
		case logview.EndGroup:
		case logview.Group:
			end := i + 1
			for end < len(lines) && lines[end].Kind != logview.Group && lines[end].Kind != logview.EndGroup {
				end++
			}
			attributes := ""
			if end == len(lines) && grows {
				attributes = " open data-open"
			}
			b.WriteString(`<details class="grp"` + attributes + `><summary>` + string(l.HTML) + `</summary>`)
			for _, inner := range lines[i+1 : end] {
				b.WriteString(lineHTML(inner))
			}
			b.WriteString("</details>")
			i = end - 1
		default:
			b.WriteString(lineHTML(l))
		}
	}
	return template.HTML(b.String()) //nolint:gosec // what logview made safe, within our own elements
}

// logOf reads which log a query means.
func logOf(r *http.Request, run *apiv1.Run, j *apiv1.Job) (where, error) {
	q := r.URL.Query()
	step, err := strconv.ParseUint(q.Get("step"), 10, 32)
	if err != nil || q.Get("attempt") == "" {
		return where{}, rpcerr.New(rpcerr.InvalidRequest, "the address names no attempt or no step")
	}
	return where{run: run.GetId(), job: j.GetId(), attempt: q.Get("attempt"), step: uint32(step)}, nil
}

type windowView struct {
	User, Job, JobHref, Step string
	Log                      logPart
	Size, Later              string
}

// logWindow shows a part of a log: what comes before an offset.
func (s *site) logWindow(w http.ResponseWriter, r *http.Request, v visitor) error {
	run, j, err := s.jobOf(r)
	if err != nil {
		return err
	}
	at, err := logOf(r, run, j)
	if err != nil {
		return err
	}
	before, err := strconv.ParseInt(r.URL.Query().Get("before"), 10, 64)
	if err != nil || before < 0 {
		return rpcerr.New(rpcerr.InvalidRequest, "the address names no place in the log")
	}
	p := piece{from: max(0, before-windowBytes)}
	err = s.readLogs(r.Context(), &apiv1.StreamLogsRequest{RunId: at.run, JobId: at.job, AttemptId: at.attempt, Step: &at.step,
		Have: []*apiv1.LogPosition{{AttemptId: at.attempt, Step: at.step, Offset: p.from}}}, func(m *apiv1.StreamLogsResponse) error {
		p.data = append(p.data, m.GetData()[:min(int64(len(m.GetData())), before-m.GetOffset())]...)
		if m.GetOffset()+int64(len(m.GetData())) >= before {
			return errEnough
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	part := at.part(p, false)
	if r.URL.Query().Get("part") != "" {
		s.showPart(w, r, http.StatusOK, "window", "log", part)
		return nil
	}
	names := map[uint32]string{}
	for _, st := range j.GetSteps() {
		names[st.GetNumber()] = st.GetName()
	}
	s.show(w, r, http.StatusOK, "window", windowView{User: v.Name, Job: j.GetName(), JobHref: jobPath(at.run, at.job), Step: stepName(names, at.step), Log: part,
		Size: size(part.From) + " to " + size(part.To), Later: at.before(part.To + windowBytes)})
	return nil
}

// rawLog sends a step's log as it is, as a file.
func (s *site) rawLog(w http.ResponseWriter, r *http.Request, _ visitor) error {
	run, j, err := s.jobOf(r)
	if err != nil {
		return err
	}
	at, err := logOf(r, run, j)
	if err != nil {
		return err
	}
	out, err := newPiecewise(w)
	if err != nil {
		return err
	}
	download(w, "text/plain; charset=utf-8", fmt.Sprintf("%s-%d.log", at.job, at.step))
	err = s.readLogs(r.Context(), &apiv1.StreamLogsRequest{RunId: at.run, JobId: at.job, AttemptId: at.attempt, Step: &at.step}, func(m *apiv1.StreamLogsResponse) error {
		_, err := out.Write(m.GetData())
		return err
	})
	if err != nil && !out.begun {
		w.Header().Del("Content-Disposition")
	}
	if err != nil && out.begun {
		panic(http.ErrAbortHandler)
	}
	return err
}

// positions says up to where each step is shown: "0:120,1:4096".
func positions(steps []stepView) string {
	var out []string
	for _, st := range steps {
		if st.Log.To > 0 {
			out = append(out, fmt.Sprintf("%d:%d", st.Number, st.Log.To))
		}
	}
	return strings.Join(out, ",")
}

// parsePositions reads what positions wrote; what it did not is left out.
func parsePositions(text string) map[uint32]int64 {
	out := map[uint32]int64{}
	for field := range strings.SplitSeq(text, ",") {
		step, offset, _ := strings.Cut(field, ":")
		n, err := strconv.ParseUint(step, 10, 32)
		o, err2 := strconv.ParseInt(offset, 10, 64)
		if err == nil && err2 == nil && o >= 0 && len(out) < maxStepsOpen {
			out[uint32(n)] = o
		}
	}
	return out
}
