package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/internal/id"
	"github.com/slipway-ci/slipway/internal/rpcerr"
)

// visitor is who asks, and until when.
type visitor struct {
	identity.Principal
	until time.Time
}

// body is a page's: what it returns is shown as an error.
type body func(w http.ResponseWriter, r *http.Request, v visitor) error

// page is for who is signed in.
func (s *site) page(b body) http.HandlerFunc { return s.guarded(s.pages, b) }

// stream is a page that lasts.
func (s *site) stream(b body) http.HandlerFunc { return s.guarded(s.streams, b) }

func (s *site) guarded(q *quota, b body) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, err := s.visitor(r)
		if err != nil {
			s.refuse(w, r, err)
			return
		}
		release, ok := q.take(v.Name)
		if !ok {
			w.Header().Set("Retry-After", "5")
			s.fail(w, r, http.StatusServiceUnavailable, "Too many pages are open at once. Close some, or come again in a moment.")
			return
		}
		defer release()
		ctx, cancel := context.WithDeadline(identity.WithPrincipal(r.Context(), v.Principal), v.until)
		defer cancel()
		if err := b(w, r.WithContext(ctx), v); err != nil {
			s.failed(w, r, err)
		}
	}
}

func (s *site) cookieName() string { return "__Host-slipway-" + s.Name }

func (s *site) visitor(r *http.Request) (visitor, error) {
	c, err := r.Cookie(s.cookieName())
	if err != nil {
		return visitor{}, rpcerr.New(rpcerr.Unauthenticated, "nobody is signed in")
	}
	p, until, err := s.Sessions.Session(r.Context(), c.Value)
	return visitor{p, until}, err
}

// refuse says how to sign in. Who comes by a link from another site has no cookie with them, SameSite=Strict keeps it back: such a visitor is sent
// to the same page once more, from here.
func (s *site) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if rpcerr.ReasonOf(err) != rpcerr.Unauthenticated {
		s.failed(w, r, err)
		return
	}
	h := r.Header
	if site := h.Get("Sec-Fetch-Site"); (site == "cross-site" || site == "same-site") && h.Get("Sec-Fetch-Mode") == "navigate" && h.Get("Sec-Fetch-Dest") == "document" {
		s.show(w, r, http.StatusOK, "onward", onward{To: r.URL.RequestURI()})
		return
	}
	why := rpcerr.Message(err)
	s.show(w, r, http.StatusUnauthorized, "signin", refusal{Why: why, Run: r.PathValue("run")})
}

// onward is a page that leads to another.
type onward struct{ To, Name string }

type refusal struct{ Why, Run string }

// signIn spends a code. The browser goes on by a page and not by a redirect: after a redirect from another site it would keep the cookie back.
func (s *site) signIn(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if r.Method != http.MethodGet || strings.Contains(r.Header.Get("Sec-Purpose"), "prefetch") {
		s.fail(w, r, http.StatusForbidden, "A sign-in link works once, and only when it is opened.")
		return
	}
	session, expires, p, err := s.Sessions.SignIn(r.Context(), q.Get("code"))
	if err != nil {
		s.Log.Info("audit", "method", "web sign-in", "peer", r.RemoteAddr, "error", rpcerr.Message(err))
		if rpcerr.ReasonOf(err) == rpcerr.Unauthenticated {
			s.show(w, r, http.StatusUnauthorized, "signin", refusal{Why: rpcerr.Message(err)})
			return
		}
		s.failed(w, r, err)
		return
	}
	s.Log.Info("audit", "principal", p.String(), "method", "web sign-in", "peer", r.RemoteAddr)
	s.setCookie(w, session, expires)
	to := "/"
	if run := q.Get("run"); id.Valid(run) {
		to = runPath(run)
	}
	s.show(w, r, http.StatusOK, "onward", onward{To: to, Name: p.Name})
}

// signOut forgets the session in the browser, if it is asked for there and not by another site.
func (s *site) signOut(w http.ResponseWriter, r *http.Request) {
	if site := r.Header.Get("Sec-Fetch-Site"); r.Method != http.MethodGet || site != "" && site != "same-origin" && site != "none" {
		s.fail(w, r, http.StatusForbidden, "Signing out is for this site's own pages.")
		return
	}
	s.setCookie(w, "", time.Unix(1, 0))
	s.show(w, r, http.StatusOK, "signin", refusal{Why: "you are signed out"})
}

func (s *site) setCookie(w http.ResponseWriter, value string, expires time.Time) {
	c := &http.Cookie{Name: s.cookieName(), Value: value, Path: "/", Expires: expires, Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

// SignInURL is the link with which a browser signs in, and goes on to a run's page; run may be "".
func SignInURL(base, code, run string) string {
	q := url.Values{"code": {code}}
	if run != "" {
		q.Set("run", run)
	}
	return base + "/signin?" + q.Encode()
}

// RunURL is the address of a run's page.
func RunURL(base, run string) string { return base + runPath(run) }

func runPath(run string) string { return "/runs/" + url.PathEscape(run) }

func jobPath(run, job string) string { return runPath(run) + "/jobs/" + url.PathEscape(job) }

// codesOf turns the API's answers into HTTP's.
var codesOf = map[codes.Code]int{
	codes.NotFound: http.StatusNotFound, codes.InvalidArgument: http.StatusBadRequest, codes.Unauthenticated: http.StatusUnauthorized,
	codes.PermissionDenied: http.StatusForbidden, codes.Unavailable: http.StatusServiceUnavailable, codes.ResourceExhausted: http.StatusServiceUnavailable,
}

// failed shows an error of the API's. One of the visitor's own leaving is nobody's to see.
func (s *site) failed(w http.ResponseWriter, r *http.Request, err error) {
	var already answered
	if errors.As(err, &already) || r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return
	}
	code, message := http.StatusInternalServerError, "The page could not be made; the coordinator's log says why."
	if known, ok := codesOf[status.Code(err)]; ok {
		code, message = known, rpcerr.Message(err)
	} else if rpcerr.ReasonOf(err) != "" {
		message = rpcerr.Message(err)
	} else {
		s.Log.Error("a page could not be made", "path", r.URL.Path, "error", err)
	}
	s.fail(w, r, code, message)
}

func (s *site) fail(w http.ResponseWriter, r *http.Request, code int, message string) {
	s.show(w, r, code, "error", failure{Code: code, Title: http.StatusText(code), Message: message})
}

type failure struct {
	Code           int
	Title, Message string
}

// answered marks an error after the answer began: nothing more can be said.
type answered struct{ error }

func (a answered) Unwrap() error { return a.error }

func (a answered) Error() string { return fmt.Sprintf("while answering: %v", a.error) }
