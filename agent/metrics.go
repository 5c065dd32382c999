package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/stats"

	"github.com/slipway-ci/slipway/agent/runner"
	"github.com/slipway-ci/slipway/agent/sandbox"
)

// metrics of the agent itself; docs/metrics.md says what they mean.
type metrics struct {
	connected prometheus.Gauge
	sessions  prometheus.Counter
	runner    *runner.Metrics
}

func newMetrics() *metrics {
	return &metrics{
		connected: prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_agent_connected", Help: "1 while a session is live."}),
		sessions:  prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_agent_sessions_total", Help: "Sessions begun."}),
	}
}

// register makes the metrics readable. The agent's session must be there: some ask it.
func (m *metrics) register(a *Agent) {
	m.runner = runner.NewMetrics(a.registry)
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_build_info", Help: "1, with the version as a label.", ConstLabels: prometheus.Labels{"version": a.cfg.Version}})
	build.Set(1)
	gauge := func(name, help string, value func() float64) {
		a.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value))
	}
	gauge("slipway_agent_attempts", "Attempts held.", func() float64 { return float64(len(a.holder.Held())) })
	gauge("slipway_agent_slots", "Jobs that may run at once.", func() float64 { return float64(a.cfg.Slots) })
	gauge("slipway_agent_disk_free_bytes", "Free on the file system of the workspaces.", func() float64 { return float64(a.diskFree.Load()) })
	pool := func() (s sandbox.PoolStats) {
		if p, ok := a.sandbox.(sandbox.Pooled); ok {
			s = p.Pool()
		}
		return s
	}
	gauge("slipway_agent_warm_pods", "Pods that were made ahead and wait for a job.", func() float64 { return float64(pool().Ready) })
	count := func(name, help string, value func() int64) {
		a.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, func() float64 { return float64(value()) }))
	}
	count("slipway_agent_warm_pods_taken_total", "Jobs that got a pod that was made ahead.", func() int64 { return pool().Taken })
	count("slipway_agent_warm_pods_missed_total", "Jobs that could have had one and found none ready.", func() int64 { return pool().Missed })
	gauge("slipway_agent_reports_waiting", "Attempts with a report that the coordinator has not acknowledged.", func() float64 { return float64(a.session.Waiting()) })
	a.registry.MustRegister(m.connected, m.sessions, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

// Idle is whether no attempt is held. It may be asked once the agent is Ready.
func (a *Agent) Idle() bool { return len(a.holder.Held()) == 0 }

// session is told when one begins and ends.
func (m *metrics) session(on bool) {
	m.connected.Set(0)
	if on {
		m.connected.Set(1)
		m.sessions.Inc()
	}
}

// tracing makes spans of the agent's calls, if anything is traced at all.
func (a *Agent) tracing() []grpc.DialOption {
	if a.cfg.Tracer == nil {
		return nil
	}
	return []grpc.DialOption{grpc.WithStatsHandler(otelgrpc.NewClientHandler(otelgrpc.WithTracerProvider(a.cfg.Tracer),
		otelgrpc.WithPropagators(propagation.TraceContext{}), otelgrpc.WithFilter(bounded)))}
}

// bounded keeps the endless streams out of the traces.
func bounded(info *stats.RPCTagInfo) bool {
	return !strings.HasSuffix(info.FullMethodName, "/Session") && !strings.HasSuffix(info.FullMethodName, "/PushLogs")
}

// MetricsAddr is where /metrics is served, with the port that the system chose if the configuration said 0; "" before Run
// has begun to serve.
func (a *Agent) MetricsAddr() string {
	if addr := a.metrics.Load(); addr != nil {
		return addr.String()
	}
	return ""
}

func (a *Agent) serveMetrics(ctx context.Context) (stop func(), err error) {
	if a.cfg.MetricsAddr == "" {
		return func() {}, nil
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.cfg.MetricsAddr)
	if err != nil {
		return nil, fmt.Errorf("agent: serve metrics: %w", err)
	}
	addr, _ := l.Addr().(*net.TCPAddr)
	a.metrics.Store(addr)
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("the metrics server ended", "error", err)
		}
	}()
	return func() {
		_ = server.Close()
		<-done
	}, nil
}
