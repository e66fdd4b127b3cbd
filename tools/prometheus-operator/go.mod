// Not for building: its module holds the definitions of the kinds PodMonitor and PrometheusRule.
module launch-agent/tools/prometheus-operator

go 1.24.0

require github.com/prometheus-operator/prometheus-operator v0.85.0
