// Package telemetry sets up what the process tells about itself: traces over OTLP, and its log. Only cmd calls it;
// every other package takes a tracer provider or a logger.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/slipway-ci/slipway/internal/spans"
)

// flushTime bounds sending the last spans when the process ends.
const flushTime = 5 * time.Second

// Traces exports spans over OTLP if OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set; else the
// provider is nil, and nothing is traced. The exporter and the SDK read those, their relatives and OTEL_TRACES_SAMPLER
// themselves (OpenTelemetry's specification, "OTLP Exporter Configuration" and "Environment Variable Specification").
// OTEL_EXPORTER_OTLP_PROTOCOL may be grpc (the default) or http/protobuf. Call stop at the end of the process: it sends
// what is left. A collector that is away costs spans, never a run; log says so.
func Traces(ctx context.Context, getenv func(string) string, service, version string, log *slog.Logger) (provider trace.TracerProvider, stop func() error, err error) {
	client, err := client(getenv)
	if err != nil {
		return nil, nil, err
	}
	if client == nil {
		return nil, func() error { return nil }, nil
	}
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		return nil, nil, fmt.Errorf("telemetry: setting up the OTLP exporter: %w", err)
	}
	// OTEL_RESOURCE_ATTRIBUTES and OTEL_SERVICE_NAME win.
	res, err := resource.New(ctx, resource.WithAttributes(attribute.String("service.name", service), attribute.String("service.version", version)),
		resource.WithTelemetrySDK(), resource.WithHost(), resource.WithProcessPID(), resource.WithFromEnv())
	if err != nil {
		return nil, nil, fmt.Errorf("telemetry: describing the process: %w", err)
	}
	// The SDK has no other way to say that a batch could not be sent.
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { log.Warn("telemetry", "error", err) }))
	sdk := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(res), sdktrace.WithIDGenerator(spans.IDs{}))
	return sdk, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushTime)
		defer cancel()
		if err := sdk.Shutdown(ctx); err != nil {
			return fmt.Errorf("telemetry: sending the last spans: %w", err)
		}
		return nil
	}, nil
}

// client speaks to the collector; nil if none is configured.
func client(getenv func(string) string) (otlptrace.Client, error) {
	if getenv("OTEL_EXPORTER_OTLP_ENDPOINT") == "" && getenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") == "" {
		return nil, nil
	}
	if getenv("OTEL_SDK_DISABLED") == "true" {
		return nil, nil
	}
	switch exporter := getenv("OTEL_TRACES_EXPORTER"); exporter {
	case "", "otlp":
	case "none":
		return nil, nil
	default:
		return nil, fmt.Errorf("telemetry: OTEL_TRACES_EXPORTER=%s: only otlp and none are supported", exporter)
	}
	protocol := getenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
	if protocol == "" {
		protocol = getenv("OTEL_EXPORTER_OTLP_PROTOCOL")
	}
	switch protocol {
	case "", "grpc":
		return otlptracegrpc.NewClient(), nil
	case "http/protobuf":
		return otlptracehttp.NewClient(), nil
	}
	return nil, errors.New("telemetry: OTEL_EXPORTER_OTLP_PROTOCOL=" + protocol + ": only grpc and http/protobuf are supported")
}

// Logger writes structured lines to w: JSON, or for people key=value text. level is a slog level's name.
func Logger(w io.Writer, level, format string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("unknown log level %q: want debug, info, warn or error", level)
	}
	options := &slog.HandlerOptions{Level: l}
	switch format {
	case "json":
		return slog.New(slog.NewJSONHandler(w, options)), nil
	case "text":
		return slog.New(slog.NewTextHandler(w, options)), nil
	}
	return nil, fmt.Errorf("unknown log format %q: want text or json", format)
}
