package containerd_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// closedPort is a registry where nobody listens: port 1 of loopback.
const closedPort = "127.0.0.1:1"

// fault is what happens to the n-th request, from 1, of a kind (manifests or blobs) to a repository. It returns whether it
// has answered; body is what the registry would send.
type fault func(w http.ResponseWriter, r *http.Request, kind string, n int, body []byte) bool

// faultyRegistry is a registry behind a proxy that makes faults.
type faultyRegistry struct {
	server *httptest.Server
	mu     sync.Mutex
	faults map[string]fault
	counts map[string]int
}

func newFaultyRegistry(t *testing.T, behind string) *faultyRegistry {
	f := &faultyRegistry{faults: map[string]fault{}, counts: map[string]int{}}
	pass := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: behind})
	f.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(r.URL.Path, "/") // /v2/REPOSITORY/KIND/DIGEST
		if len(parts) != 5 {
			pass.ServeHTTP(w, r)
			return
		}
		f.mu.Lock()
		f.counts[parts[2]+parts[3]]++
		n, fault := f.counts[parts[2]+parts[3]], f.faults[parts[2]]
		f.mu.Unlock()
		if fault == nil {
			pass.ServeHTTP(w, r)
			return
		}
		whole := httptest.NewRecorder()
		plain := r.Clone(r.Context())
		plain.Header.Del("Range")
		pass.ServeHTTP(whole, plain)
		if !fault(w, r, parts[3], n, whole.Body.Bytes()) {
			pass.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(f.server.Close)
	return f
}

func (f *faultyRegistry) host() string { return strings.TrimPrefix(f.server.URL, "http://") }

// ref is the same image, through the proxy.
func (f *faultyRegistry) ref(direct string) string {
	_, path, _ := strings.Cut(direct, "/")
	return f.host() + "/" + path
}

func (f *faultyRegistry) set(repository string, fault fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.faults[repository] = fault
}

func answers(status int) fault {
	return func(w http.ResponseWriter, _ *http.Request, _ string, _ int, _ []byte) bool {
		w.WriteHeader(status)
		return true
	}
}

// recovers is unavailable for the first requests of a manifest.
func recovers(after int) fault {
	return func(w http.ResponseWriter, _ *http.Request, kind string, n int, _ []byte) bool {
		if kind == "manifests" && n <= after {
			w.WriteHeader(http.StatusServiceUnavailable)
			return true
		}
		return false
	}
}

// large is whether a request is for a layer.
func large(r *http.Request, kind string, body []byte) bool {
	return kind == "blobs" && r.Method == http.MethodGet && len(body) > 100_000
}

// forges changes one byte of every layer.
func forges(w http.ResponseWriter, r *http.Request, kind string, _ int, body []byte) bool {
	if !large(r, kind, body) {
		return false
	}
	other := bytes.Clone(body)
	other[len(other)/2] ^= 1
	w.Header().Set("Content-Length", strconv.Itoa(len(other)))
	_, _ = w.Write(other)
	return true
}

// begin answers with the first bytes of a body.
func begin(w http.ResponseWriter, body []byte, n int) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body[:n])
	_ = http.NewResponseController(w).Flush()
}

// stalls sends a part and then nothing.
func stalls(w http.ResponseWriter, r *http.Request, kind string, _ int, body []byte) bool {
	if !large(r, kind, body) {
		return false
	}
	begin(w, body, len(body)/3)
	<-r.Context().Done()
	return true
}

// cuts breaks the first connections in mid-layer.
func cuts(times int) fault {
	var mu sync.Mutex
	return func(w http.ResponseWriter, r *http.Request, kind string, _ int, body []byte) bool {
		mu.Lock()
		defer mu.Unlock()
		if !large(r, kind, body) || times <= 0 {
			return false
		}
		times--
		begin(w, body, len(body)/3)
		panic(http.ErrAbortHandler)
	}
}

// slow sends a layer in ten parts.
func slow(w http.ResponseWriter, r *http.Request, kind string, _ int, body []byte) bool {
	if !large(r, kind, body) {
		return false
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	for rest := bytes.NewReader(body); rest.Len() > 0; {
		_, _ = io.CopyN(w, rest, int64(len(body)/10+1))
		_ = http.NewResponseController(w).Flush()
		<-time.After(60 * time.Millisecond)
	}
	return true
}
