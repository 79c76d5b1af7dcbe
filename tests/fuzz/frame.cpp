// The follower against a reader that knows one byte at a time only, on the same bytes in pieces that the input chooses.

#include <relais/websocket/frame.hpp>

#include <algorithm>
#include <cstdlib>

namespace {

// The plainest form of RFC 6455, section 5.2.
class slow_reader {
public:
    void byte(unsigned value) {
        if (lost)
            return;
        if (payload != 0) {
            --payload;
            return;
        }
        head[size++] = value;
        if (size == 1)
            close |= (value & 15) == 8;
        if (size < 2)
            return;
        unsigned const small = head[1] & 127;
        unsigned const extended = small == 126 ? 2 : small == 127 ? 8 : 0;
        if (size < 2 + extended)
            return;
        std::uint64_t length = extended != 0 ? 0 : small;
        for (unsigned i = 0; i < extended; ++i)
            length = length * 256 + head[2 + i];
        lost = (extended == 2 && length < 126) ||
               (extended == 8 && (length < 65536 || length > INT64_MAX));
        if (lost || size < 2 + extended + (head[1] > 127 ? 4 : 0))
            return;
        payload = length;
        size = 0;
    }
    unsigned head[14] = {};
    unsigned size = 0;
    std::uint64_t payload = 0;
    bool close = false, lost = false;
};

void require(bool ok) {
    if (!ok)
        std::abort();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size) {
    if (size < 2)
        return 0;
    std::size_t const step = data[0] % 40 + 1;
    auto const wire = std::as_bytes(std::span(data + 1, size - 1));
    relais::frame_follower follower;
    slow_reader reader;
    for (std::size_t at = 0; at < wire.size();) {
        auto const piece = wire.subspan(at, std::min<std::size_t>(step, wire.size() - at));
        std::size_t const boundary = follower.until_boundary(piece);
        std::size_t first =
            reader.size == 0 && reader.payload == 0 && !reader.lost ? 0 : piece.size();
        for (std::size_t i = 0; i < piece.size(); ++i) {
            reader.byte(data[1 + at + i]);
            if (reader.size == 0 && reader.payload == 0 && !reader.lost)
                first = std::min(first, i + 1);
        }
        require(boundary == first);
        if (data[0] >= 128 && follower.payload_left() >= piece.size())
            follower.skip(piece.size());
        else
            follower.consume(piece);
        at += piece.size();
        require(follower.lost() == reader.lost);
        require(follower.close_seen() == reader.close);
        require(follower.at_boundary() ==
                (!reader.lost && reader.size == 0 && reader.payload == 0));
        require(follower.payload_left() == reader.payload);
    }
    return 0;
}
