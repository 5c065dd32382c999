package telemetry

import (
	"context"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	coltracev1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
)

// span is one that arrived, with the service that sent it.
type span struct {
	*tracev1.Span
	service string
}

func (s span) id() string     { return hex.EncodeToString(s.GetSpanId()) }
func (s span) parent() string { return hex.EncodeToString(s.GetParentSpanId()) }
func (s span) trace() string  { return hex.EncodeToString(s.GetTraceId()) }

// attr is an attribute's value as text; "" without one.
func (s span) attr(key string) string { return attribute(s.GetAttributes(), key) }

func (s span) String() string {
	return fmt.Sprintf("%s %q of %s in %s under %s %v", s.id(), s.GetName(), s.service, s.trace(), s.parent(), s.GetAttributes())
}

func attribute(all []*commonv1.KeyValue, key string) string {
	for _, a := range all {
		if a.GetKey() != key {
			continue
		}
		switch v := a.GetValue().GetValue().(type) {
		case *commonv1.AnyValue_StringValue:
			return v.StringValue
		case *commonv1.AnyValue_IntValue:
			return fmt.Sprint(v.IntValue)
		case *commonv1.AnyValue_DoubleValue:
			return fmt.Sprint(v.DoubleValue)
		default:
			return a.GetValue().String()
		}
	}
	return ""
}

// collector receives spans over OTLP/gRPC, as any OpenTelemetry collector does.
type collector struct {
	coltracev1.UnimplementedTraceServiceServer
	server *grpc.Server
	addr   string

	mu      sync.Mutex
	spans   []span
	changed chan struct{}
}

func startCollector() (*collector, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	c := &collector{server: grpc.NewServer(), addr: l.Addr().String(), changed: make(chan struct{})}
	coltracev1.RegisterTraceServiceServer(c.server, c)
	go func() { _ = c.server.Serve(l) }()
	return c, nil
}

func (c *collector) Export(_ context.Context, r *coltracev1.ExportTraceServiceRequest) (*coltracev1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range r.GetResourceSpans() {
		service := attribute(rs.GetResource().GetAttributes(), "service.name")
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				c.spans = append(c.spans, span{s, service})
			}
		}
	}
	close(c.changed)
	c.changed = make(chan struct{})
	return &coltracev1.ExportTraceServiceResponse{}, nil
}

func (c *collector) all() (spans []span, changed <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]span(nil), c.spans...), c.changed
}

// doubled are the spans that arrived more than once.
func (c *collector) doubled() []string {
	seen := map[string]bool{}
	var out []string
	all, _ := c.all()
	for _, s := range all {
		if key := s.trace() + s.id(); seen[key] {
			out = append(out, s.String())
		} else {
			seen[key] = true
		}
	}
	return out
}

// tree is what is known of one run, once everything that is waited for has arrived.
type tree struct {
	t     *testing.T
	spans []span
}

// await returns the spans of a run once there are as many of jobs and steps as wanted, and the run's own.
func (c *collector) await(t *testing.T, runID string, tasks int) tree {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		all, changed := c.all()
		found, ended := tree{t: t}, false
		for _, s := range all {
			if s.attr("cicd.pipeline.run.id") == runID {
				found.spans = append(found.spans, s)
				ended = ended || s.attr("cicd.pipeline.result") != ""
			}
		}
		if ended && len(found.spans) >= tasks+1 {
			return found
		}
		select {
		case <-changed:
		case <-ctx.Done():
			t.Fatalf("%d spans of run %s arrived, want %d:\n%s", len(found.spans), runID, tasks+1, found)
		}
	}
}

func (f tree) String() string {
	var b strings.Builder
	for _, s := range f.spans {
		fmt.Fprintln(&b, s)
	}
	return b.String()
}

// one is the only span of a name.
func (f tree) one(name string) span {
	f.t.Helper()
	var found []span
	for _, s := range f.spans {
		if s.GetName() == name {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		f.t.Fatalf("%d spans are named %q, want one:\n%s", len(found), name, f)
	}
	return found[0]
}

// step is the only span of a step.
func (f tree) step(job string, number int) span {
	f.t.Helper()
	var found []span
	for _, s := range f.spans {
		if s.attr("slipway.job.id") == job && s.attr("slipway.step.number") == fmt.Sprint(number) {
			found = append(found, s)
		}
	}
	if len(found) != 1 {
		f.t.Fatalf("%d spans of step %d of %s, want one:\n%s", len(found), number, job, f)
	}
	return found[0]
}

func duration(s span) time.Duration {
	return time.Duration(s.GetEndTimeUnixNano() - s.GetStartTimeUnixNano())
}
