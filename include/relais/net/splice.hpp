#pragma once

#include <relais/config.hpp>

#include <cstddef>
#include <vector>

namespace relais {

/// A pipe through which bytes go from socket to socket inside the kernel. Taken from and given back to the current
/// worker; a pipe that still holds bytes is closed instead.
class splice_pipe {
public:
    splice_pipe() = default;
    splice_pipe(splice_pipe const&) = delete;
    splice_pipe& operator=(splice_pipe const&) = delete;
    ~splice_pipe() { give_back(); }

    /// Takes a pipe if there is none yet. \return whether there is one: false where the system has no splice or no
    /// descriptors are left.
    bool take();
    void give_back() noexcept;

    bool is_open() const noexcept { return ends_[0] >= 0; }
    int read_end() const noexcept { return ends_[0]; }
    int write_end() const noexcept { return ends_[1]; }

    std::size_t held = 0; ///< bytes in the pipe

private:
    int ends_[2] = {-1, -1};
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/net/impl/splice.ipp>
#endif
