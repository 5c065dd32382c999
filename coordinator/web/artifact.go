package web

import (
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

func artifactPath(run, name string) string {
	return runPath(run) + "/artifacts/" + url.PathEscape(name)
}

// piecewise writes an answer of which each piece may take writeTimeout.
type piecewise struct {
	w     http.ResponseWriter
	rc    *http.ResponseController
	begun bool
}

// newPiecewise lifts the limits of a whole answer.
func newPiecewise(w http.ResponseWriter) (*piecewise, error) {
	rc := http.NewResponseController(w)
	// HTTP/1 goes on reading while the answer lasts, to see that the client left.
	return &piecewise{w: w, rc: rc}, rc.SetReadDeadline(time.Time{})
}

func (p *piecewise) Write(b []byte) (int, error) {
	p.begun = true
	if err := p.rc.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return 0, err
	}
	return p.w.Write(b)
}

// wrap marks an error after the answer began.
func (p *piecewise) wrap(err error) error {
	if err == nil || !p.begun {
		return err
	}
	return answered{err}
}

// download announces a file.
func download(w http.ResponseWriter, kind, name string) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
}

func (s *site) artifact(w http.ResponseWriter, r *http.Request, _ visitor) error {
	run, err := s.getRun(r.Context(), r.PathValue("run"))
	if err != nil {
		return err
	}
	name, bytes := r.PathValue("name"), int64(-1)
	for _, a := range run.GetArtifacts() {
		if a.GetName() == name {
			bytes = a.GetSize()
		}
	}
	if bytes < 0 {
		return rpcerr.New(rpcerr.NotFound, "the run has no artifact %.100q", name)
	}
	if r.Method == http.MethodHead {
		return nil
	}
	out, err := newPiecewise(w)
	if err != nil {
		return err
	}
	req := &apiv1.DownloadArtifactRequest{RunId: run.GetId(), Name: name}
	err = call(r.Context(), s.Artifacts.DownloadArtifact, req, func(m *apiv1.DownloadArtifactResponse) error {
		if !out.begun {
			download(w, "application/zip", name+".zip")
			w.Header().Set("Content-Length", strconv.FormatInt(bytes, 10))
		}
		_, err := out.Write(m.GetData())
		return err
	})
	if err != nil && out.begun {
		// The client sees that bytes are missing.
		panic(http.ErrAbortHandler)
	}
	return err
}
