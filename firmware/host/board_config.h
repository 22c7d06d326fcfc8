/* The host as a board: for timing the library where it was built. */
#ifndef TINYSE_BOARD_CONFIG_H
#define TINYSE_BOARD_CONFIG_H

#define BOARD_NAME "host"
#define BOARD_CORE "host"

#endif /* TINYSE_BOARD_CONFIG_H */
