#pragma once

#include <memory>
#include <string>

/// Two servers in a thread of this process, on loopback ports that the system chooses: what a gateway stands in front of.
class demonstration {
public:
    demonstration();
    demonstration(demonstration const&) = delete;
    demonstration& operator=(demonstration const&) = delete;
    ~demonstration();

    /// An HTTP application: a page at /; /api/... tells what it received; /slow takes two seconds; /stream sends ten
    /// chunks in one.
    std::string application() const;

    /// A WebSocket server that sends each text to all who are connected, and bytes back to who sent them.
    std::string chat() const;

private:
    struct running;
    std::unique_ptr<running> running_;
};
