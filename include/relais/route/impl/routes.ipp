#pragma once

#include <relais/http/path.hpp>
#include <relais/route/routes.hpp>

#include <atomic>
#include <mutex>

namespace relais {

struct routes::version {
    explicit version(list all) : branches(std::move(all)), table(rules_of(branches)) {}

    static std::vector<matcher> rules_of(list const& all) {
        std::vector<matcher> rules;
        for (auto const& b : all)
            rules.push_back(b.rule);
        return rules;
    }

    list branches;
    route_table table;
};

struct routes::shared {
    // What look-ups read; null until somebody asks. Versions are kept, so that look-ups need neither a lock nor a count.
    std::atomic<version const*> current{nullptr};
    std::mutex writing;
    list branches;
    std::vector<std::unique_ptr<version const>> versions;
    bool prepared = false;

    version const& use() {
        if (auto const* latest = current.load(std::memory_order_acquire))
            return *latest;
        std::lock_guard lock(writing);
        return latest();
    }

    // With the lock held.
    version const& latest() {
        if (versions.empty())
            publish(std::make_unique<version const>(branches));
        return *versions.back();
    }

    void publish(std::unique_ptr<version const> next) {
        versions.push_back(std::move(next));
        current.store(versions.back().get(), std::memory_order_release);
    }

    // Problems, a line each.
    struct complaints {
        std::string text;
        void add(std::string_view why) {
            if (!why.empty())
                text.append(text.empty() ? "" : "\n").append(why);
        }
        void throw_any() const {
            if (!text.empty())
                throw startup_error(text);
        }
    };

    static std::string prepare(detail::any_branch const& b) {
        try {
            b.prepare(b.stages.get(), b.rule);
        } catch (startup_error const& e) {
            return b.rule.describe() + ": " + e.what();
        }
        return {};
    }
};

RELAIS_DECL routes::routes(list branches) : shared_(std::make_shared<shared>()) {
    shared_->branches = std::move(branches);
}

RELAIS_DECL void routes::add_erased(detail::any_branch more) {
    std::lock_guard lock(shared_->writing);
    if (shared_->versions.empty()) {
        shared_->branches.push_back(std::move(more));
        return;
    }
    auto all = shared_->branches;
    all.push_back(std::move(more));
    auto next = std::make_unique<version const>(all);
    if (shared_->prepared) {
        next->table.check();
        if (auto const why = shared::prepare(all.back()); !why.empty())
            throw startup_error(why);
    }
    shared_->publish(std::move(next));
    shared_->branches = std::move(all);
}

RELAIS_DECL void routes::prepare() const {
    std::lock_guard lock(shared_->writing);
    if (shared_->prepared)
        return;
    auto const& latest = shared_->latest();
    shared::complaints found;
    for (auto const& problem : latest.table.problems())
        found.add(problem);
    for (auto const& b : latest.branches)
        found.add(shared::prepare(b));
    found.throw_any();
    shared_->prepared = true;
}

RELAIS_DECL void routes::reload() const {
    std::lock_guard lock(shared_->writing);
    shared::complaints found;
    for (auto const& b : shared_->branches)
        for (auto const& why : b.reload(b.stages.get()))
            found.add(b.rule.describe() + ": " + why);
    found.throw_any();
}

RELAIS_DECL std::string routes::explain(std::string_view target, std::string_view host,
                                        verb method) const {
    auto const path = target.substr(0, target.find('?'));
    std::string matched, canonical;
    auto const made = normalise_path(path, matched, canonical);
    if (made.rejected())
        return "\"" + std::string(path) + "\": 400, because " + std::string(made.sentence) + "\n";
    return shared_->use().table.explain(made.matched, host, method);
}

RELAIS_DECL awaitable<> routes::operator()(exchange& x) const {
    auto const& in = shared_->use();
    auto const match = in.table.find(x.request.path(), x.request.host(), x.request.method());
    if (!match.found())
        return answer(x, in, match);
    x.set_matched_prefix(match.length);
    auto const& b = in.branches[match.rule];
    return b.entry(b.stages.get(), x);
}

RELAIS_DECL awaitable<> routes::answer(exchange& x, version const& in, route_match match) {
    if (match.what != route_match::outcome::redirect) {
        x.refuse(match.reason());
        if (match.what == route_match::outcome::method_not_allowed)
            x.response.set("Allow", in.table.allow(match));
        co_return;
    }
    std::string to(x.request.canonical_path());
    to += '/';
    if (x.request.has_query())
        to.append("?").append(x.request.query());
    x.respond(301);
    x.response.set("Location", to);
    co_return;
}

} // namespace relais
