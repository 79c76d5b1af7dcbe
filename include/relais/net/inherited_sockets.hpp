#pragma once

#include <relais/config.hpp>
#include <relais/net/endpoint.hpp>

#include <string>
#include <string_view>
#include <vector>

namespace relais {

/// The listening sockets that a service manager has opened for this process: they stay open while the program is
/// restarted, so that a restart refuses nobody.
///
/// Source: sd_listen_fds(3): descriptors from 3 on, `LISTEN_PID`, `LISTEN_FDS` and `LISTEN_FDNAMES`. They stay open as long as the process.
class inherited_sockets {
public:
    struct one {
        int descriptor;
        std::string name; ///< of the socket unit, or its FileDescriptorName
        socket_address address;
        bool every_address =
            false; ///< `[::]` with IPv4: what a socket unit with a port alone opens
    };

    /// Those of this process. The first call takes them over, and the variables out of the environment: before there are
    /// other threads that use it.
    static inherited_sockets const& current();

    /// Those that a manager announced with these texts, null where a variable is not set. Descriptors that are no listening stream sockets are
    /// left alone.
    /// \param first the first descriptor.
    inherited_sockets(char const* pid, char const* count, char const* names, int first = 3);

    /// One that serves every address of both families serves 0.0.0.0 too, where nothing else does. \return null when
    /// there is none with this address.
    one const* find(socket_address const& address) const noexcept;

    /// \throws startup_error when there is none of that name, or more than one.
    one const& named(std::string_view name) const;

    std::vector<one> const& all() const noexcept { return all_; }

private:
    std::vector<one> all_;
};

} // namespace relais

#if defined(RELAIS_HEADER_ONLY)
#include <relais/net/impl/inherited_sockets.ipp>
#endif
