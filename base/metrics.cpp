// The only file that includes prometheus-cpp.
#include "base/metrics.h"

#include <prometheus/counter.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <mutex>
#include <utility>

#include "base/check.h"

namespace ebb {
namespace {

class PrometheusCounter final : public Counter {
 public:
  explicit PrometheusCounter(prometheus::Counter& counter) : counter_(counter) {}
  void add(double amount) override { counter_.Increment(amount); }
  double value() const override { return counter_.Value(); }

 private:
  prometheus::Counter& counter_;
};

class PrometheusGauge final : public Gauge {
 public:
  explicit PrometheusGauge(prometheus::Gauge& gauge) : gauge_(gauge) {}
  void set(double value) override { gauge_.Set(value); }
  double value() const override { return gauge_.Value(); }

 private:
  prometheus::Gauge& gauge_;
};

class PrometheusHistogram final : public Histogram {
 public:
  explicit PrometheusHistogram(prometheus::Histogram& histogram) : histogram_(histogram) {}
  void observe(double value) override { histogram_.Observe(value); }

 private:
  prometheus::Histogram& histogram_;
};

bool is_metric_name(const std::string& name) {
  if (!name.starts_with("ebb_")) return false;
  return name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") == std::string::npos;
}

/// All series of one kind, by name and labels.
template <class Ours, class Theirs>
struct Series {
  std::map<std::string, prometheus::Family<Theirs>*> families;
  std::map<std::pair<std::string, MetricLabels>, std::unique_ptr<Ours>> series;

  template <class Wrapper, class Build, class... Args>
  Ours& get(const std::string& name, const MetricLabels& labels, Build build, Args&&... args) {
    auto& slot = series[{name, labels}];
    if (slot) return *slot;
    auto& family = families[name];
    if (!family) family = &build();
    slot = std::make_unique<Wrapper>(family->Add(labels, std::forward<Args>(args)...));
    return *slot;
  }
};

}  // namespace

struct Metrics::Impl {
  mutable std::mutex mutex;
  prometheus::Registry registry;
  Series<Counter, prometheus::Counter> counters;
  Series<Gauge, prometheus::Gauge> gauges;
  Series<Histogram, prometheus::Histogram> histograms;

  /// A name has one kind; two kinds under one name would be two families that scrapers refuse.
  void check_name(const std::string& name, int kind) const {
    EBB_CHECK(is_metric_name(name));
    EBB_CHECK(kind == 0 || !counters.families.contains(name));
    EBB_CHECK(kind == 1 || !gauges.families.contains(name));
    EBB_CHECK(kind == 2 || !histograms.families.contains(name));
  }
};

Metrics::Metrics() : impl_(std::make_unique<Impl>()) {}
Metrics::~Metrics() = default;

Counter& Metrics::counter(const std::string& name, const std::string& help,
                          const MetricLabels& labels) {
  const std::lock_guard lock(impl_->mutex);
  impl_->check_name(name, 0);
  return impl_->counters.get<PrometheusCounter>(
      name, labels, [&]() -> auto& {
        return prometheus::BuildCounter().Name(name).Help(help).Register(impl_->registry);
      });
}

Gauge& Metrics::gauge(const std::string& name, const std::string& help,
                      const MetricLabels& labels) {
  const std::lock_guard lock(impl_->mutex);
  impl_->check_name(name, 1);
  return impl_->gauges.get<PrometheusGauge>(
      name, labels, [&]() -> auto& {
        return prometheus::BuildGauge().Name(name).Help(help).Register(impl_->registry);
      });
}

Histogram& Metrics::histogram(const std::string& name, const std::string& help,
                              const std::vector<double>& bounds, const MetricLabels& labels) {
  const std::lock_guard lock(impl_->mutex);
  impl_->check_name(name, 2);
  return impl_->histograms.get<PrometheusHistogram>(
      name, labels,
      [&]() -> auto& {
        return prometheus::BuildHistogram().Name(name).Help(help).Register(impl_->registry);
      },
      prometheus::Histogram::BucketBoundaries(bounds));
}

std::string Metrics::text() const {
  return prometheus::TextSerializer().Serialize(impl_->registry.Collect());
}

}  // namespace ebb
