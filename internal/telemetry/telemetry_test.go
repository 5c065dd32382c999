package telemetry

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"

	coltrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// collector keeps what arrives over OTLP.
type collector struct {
	coltrace.UnimplementedTraceServiceServer
	mu    sync.Mutex
	names []string
}

func (c *collector) Export(_ context.Context, r *coltrace.ExportTraceServiceRequest) (*coltrace.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range r.GetResourceSpans() {
		service := ""
		for _, a := range rs.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				service = a.GetValue().GetStringValue()
			}
		}
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				c.names = append(c.names, service+"/"+s.GetName())
			}
		}
	}
	return &coltrace.ExportTraceServiceResponse{}, nil
}

func TestSpansArriveOnlyWhenConfigured(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for _, off := range []map[string]string{
		{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
	} {
		provider, stop, err := Traces(t.Context(), func(k string) string { return off[k] }, "test", "1", log)
		if err != nil || provider != nil {
			t.Errorf("%v: a provider although nothing is to be traced (%v)", off, err)
		}
		if err := stop(); err != nil {
			t.Error(err)
		}
	}
	for _, bad := range []map[string]string{
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
		{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "zipkin"},
	} {
		if _, _, err := Traces(t.Context(), func(k string) string { return bad[k] }, "test", "1", log); err == nil {
			t.Errorf("%v is accepted", bad)
		}
	}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{}
	server := grpc.NewServer()
	coltrace.RegisterTraceServiceServer(server, c)
	go func() { _ = server.Serve(l) }()
	defer server.Stop()
	env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + l.Addr().String()}
	for k, v := range env {
		t.Setenv(k, v)
	}
	provider, stop, err := Traces(t.Context(), func(k string) string { return env[k] }, "slipway-test", "1", log)
	if err != nil {
		t.Fatal(err)
	}
	_, span := provider.Tracer("t").Start(t.Context(), "work")
	span.End()
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if len(c.names) != 1 || c.names[0] != "slipway-test/work" {
		t.Errorf("collected %q", c.names)
	}
}

func TestLogger(t *testing.T) {
	var b strings.Builder
	log, err := Logger(&b, "warn", "json")
	if err != nil {
		t.Fatal(err)
	}
	log.Info("no")
	log.Warn("yes", "run", "r1")
	if got := b.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, `"run":"r1"`) {
		t.Error(got)
	}
	for _, bad := range [][2]string{{"loud", "json"}, {"info", "xml"}} {
		if _, err := Logger(&b, bad[0], bad[1]); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}
