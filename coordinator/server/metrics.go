package server

import (
	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/internal/version"
)

// registerMetrics makes readable what the process itself knows; docs/metrics.md says what it means.
func (s *Server) registerMetrics() {
	s.logBytes = prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_log_bytes_total", Help: "Log bytes taken from agents, repeats included."})
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_build_info", Help: "1, with the version as a label.",
		ConstLabels: prometheus.Labels{"version": version.String()}})
	build.Set(1)
	free := prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "slipway_data_free_bytes", Help: "Free on the file system of the data directory."},
		func() float64 { return freeBytes(s.conf.DataDir) })
	s.rpcs = grpcprom.NewServerMetrics(grpcprom.WithServerHandlingTimeHistogram())
	s.registry.MustRegister(s.rpcs, s.logBytes, build, free, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

// freeBytes is 0 if the file system does not say.
func freeBytes(dir string) float64 {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return 0
	}
	return float64(st.Bavail) * float64(st.Bsize)
}
