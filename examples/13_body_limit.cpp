// A body that is looked at while it passes, and never held: here one that may not be longer than so many bytes, as nginx's
// client_max_body_size. In the same way bodies are counted, hashed, or changed.
//
//     curl -d 'short' localhost:8080/                                       # 200 "5 bytes came"
//     head -c 20000 /dev/zero | curl --data-binary @- localhost:8080/       # 413: it says so itself
//     head -c 20000 /dev/zero | curl -X POST -T - localhost:8080/           # 413: it does not, and is found out

#include <relais/relais.hpp>

using namespace relais;

class at_most final : public body {
public:
    at_most(std::uint64_t limit, std::unique_ptr<body> inner)
        : left_(limit), inner_(std::move(inner)) {}

    io_result try_read(std::span<std::byte> to) override {
        auto got = inner_->try_read(to);
        if (got.count > left_) {
            exceeded_ = true;
            return {0, io_state::error};
        }
        left_ -= got.count;
        return got;
    }
    end_reason failure() const noexcept override {
        return exceeded_ ? end_reason::body_too_large : inner_->failure();
    }

    stream* waits_on() noexcept override { return inner_->waits_on(); }
    std::chrono::milliseconds wait_limit() const noexcept override { return inner_->wait_limit(); }
    std::optional<std::uint64_t> remaining() const noexcept override { return inner_->remaining(); }
    void finished() override { inner_->finished(); }

private:
    std::uint64_t left_;
    std::unique_ptr<body> inner_;
    bool exceeded_ = false;
};

struct body_limit {
    std::uint64_t bytes;

    awaitable<> operator()(exchange& x, exchange::next next) const {
        if (x.request.body.size().value_or(0) > bytes) {
            x.refuse(end_reason::body_too_large);
            co_return;
        }
        x.request.body.wrap([this](std::unique_ptr<body> inner) {
            return std::make_unique<at_most>(bytes, std::move(inner));
        });
        co_await next(x);
    }
};

static awaitable<> count(exchange& x) {
    auto text = co_await x.request.body.read_all(1024 * 1024);
    x.respond(200, std::to_string(text.size()) + " bytes came\n");
}

int main() {
    server srv;
    srv.listen("127.0.0.1:8080", http() | body_limit{10'000} | proxy_to("http://127.0.0.1:8081"));
    srv.listen("127.0.0.1:8081", http() | count); // the application, so that there is one
    return srv.run();
}
